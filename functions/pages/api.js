/** The HTTP API, as this page calls it. The key is kept for this tab only, and sent in a header, never in a URL. */

import { frames } from "./sse.js";

const KEY = "console.key";
const DEADLINE_MS = 20_000;
const BASE = new URL("openai/v1/", location.href);

/** The service has answered, and refuses. */
export class Refused extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code ?? "";
    this.param = error.param ?? "";
  }
}

/** Something else than the service has answered, such as a host that has not loaded it yet. */
export class Unready extends Error {
  constructor(status) {
    super(`The answer was ${status}, and not the service's own.`);
    this.answered = status;
  }
}

export const baseUrl = BASE.href.replace(/\/$/, "");
export const keyOf = () => sessionStorage.getItem(KEY);
export const keep = (key) => sessionStorage.setItem(KEY, key);

/** Forget the key, and everything else of this tab. */
export function forget() {
  sessionStorage.clear();
}

/** Called when the service does not know the key any more. */
let onUnknown = () => {};
export const whenUnknown = (act) => (onUnknown = act);

/** Return an answer's JSON. Raises Refused, or what fetch raises. `deadlineMs` of 0 is none. */
export async function call(method, path, { body, headers, signal, deadlineMs = DEADLINE_MS, url } = {}) {
  const signals = [signal, deadlineMs ? AbortSignal.timeout(deadlineMs) : null].filter(Boolean);
  const answer = await send(method, url ?? new URL(path, BASE), { body, headers, signal: AbortSignal.any(signals) });
  return answer.json();
}

export const get = (path, options) => call("GET", path, options);

/** Return who the key belongs to. */
export const whoami = () => call("GET", "", { url: new URL("console/caller", location.href) });

/** Open a stream and return its frames. It goes on until it ends or `signal` is aborted. */
export async function open(method, path, { body, headers, signal } = {}) {
  const answer = await send(method, new URL(path, BASE), { body, headers, signal });
  return frames(answer.body);
}

async function send(method, url, { body, headers = {}, signal }) {
  const sent = { ...headers, Authorization: `Bearer ${keyOf()}` };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const answer = await fetch(url, {
    method,
    headers: sent,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    referrerPolicy: "no-referrer",
  });
  if (answer.ok) return answer;
  const error = await errorIn(answer);
  if (!error) throw new Unready(answer.status);
  const refused = new Refused(answer.status, error);
  if (refused.status === 401) onUnknown(refused);
  throw refused;
}

async function errorIn(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return null;
  }
}

/** Return a random key for a request that may be repeated. */
export function idempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
