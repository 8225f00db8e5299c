/** What the page says: times, states and errors in words. */

export const TERMINAL = new Set(["completed", "failed", "incomplete", "cancelled"]);

export const STATUS = {
  queued: "Queued",
  in_progress: "In progress",
  completed: "Completed",
  failed: "Failed",
  incomplete: "Incomplete",
  cancelled: "Cancelled",
};

const WAITS = {
  upstream_down: "the upstream, which is down",
  credentials: "the upstream to accept the service's credentials",
  turn: "its turn",
  upstream_removed: "its upstream, which is not in the settings",
  rate_limit: "the upstream's rate limit",
  storage: "storage, which takes no writes",
};

const CODES = {
  operator_required: "Only callers with the role “operator” may see this.",
  callback_url_scheme: "The callback URL must begin with https://.",
  output_too_large: "The answer is larger than the service keeps.",
  deadline_exceeded: "The work took longer than this deployment allows.",
  upstream_lost: "The upstream lost this work, and it could not be begun again.",
  console_off: "The console is switched off here.",
};

const AT = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const NUMBER = new Intl.NumberFormat();

/** Return seconds as people say them. */
export function lasting(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** Return the time of day of unix seconds, with the date if it is not today. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString()} `;
  return day + AT.format(date);
}

export const nowS = () => Date.now() / 1000;

/** Return a count with its noun. */
export function count(n, one, many = `${one}s`) {
  return `${NUMBER.format(n)} ${n === 1 ? one : many}`;
}

/** Return the tokens of a `usage`, or an empty text. */
export function tokens(usage) {
  return usage ? count(usage.total_tokens ?? usage.input_tokens + usage.output_tokens, "token") : "";
}

/** Return when a response ended, in unix seconds, or null. One of an older release says only when it completed. */
export const endOf = (response) => response.ended_at ?? response.completed_at ?? null;

/** Return how long a response has taken so far, or until its end. `seen` is when this tab saw that, if it did. */
export function age(response, seen = null) {
  if (!TERMINAL.has(response.status)) return lasting(nowS() - response.created_at);
  const at = endOf(response) ?? seen;
  return at ? lasting(at - response.created_at) : "";
}

/** Return what a response waits for, or an empty text. */
export function waiting(wait) {
  if (!wait) return "";
  const place = wait.place ? `, place ${NUMBER.format(wait.place)}` : "";
  const detail = wait.detail ? ` (${wait.detail})` : "";
  const next = wait.next_at ? `, next try in ${lasting(wait.next_at - nowS())}` : "";
  return `Waits for ${WAITS[wait.reason] ?? wait.reason}${place}${detail}${next}`;
}

/** Return the error object of a response, or of an answer, in words. */
export function reason(error) {
  if (!error) return "";
  const known = CODES[error.code];
  const field = error.param ? `${error.param}: ` : "";
  return `${field}${known ?? error.message ?? "It failed without a reason."}${error.code ? ` [${error.code}]` : ""}`;
}

/** Return why a call of the API has failed, in words. `next` says what follows where no answer came. */
export function failure(error, next = "Trying again.") {
  if (error.name === "TimeoutError") return `The service did not answer in time. ${next}`;
  if (error.status === 401) return "The service does not know this key.";
  if (error.status === 404 && !error.code) return "There is no such response. It may have been deleted.";
  if (error.status === 429) return `Too many requests for this key. ${error.message}`;
  if (error.status) return reason(error);
  if (error.answered) return `The service is not ready: the answer was ${error.answered}. ${next}`;
  return `The service cannot be reached. ${next}`;
}

/** Return the whole text of a response object: its messages and refusals. */
export function outputText(response) {
  const parts = (response.output ?? []).flatMap((item) => (item.type === "message" ? (item.content ?? []) : []));
  return parts.map((part) => part.text ?? part.refusal ?? "").join("\n\n");
}
