/** The life of a response, as its own times, this tab and its deliveries tell it. */

import { h } from "./dom.js";
import { endOf, lasting, moment, reason, STATUS, TERMINAL, waiting } from "./words.js";

const DELIVERY = 3;

/** Return the moments of a life, in order. Each has `at` in unix seconds, or null if not known, a text and a kind. */
export function story(response, live, deliveries) {
  const seen = live?.notes ?? [];
  const end = ended(response, live);
  const moments = [accepted(response), ...seen, ...end.filter((one) => one.at), ...attempts(deliveries)];
  if (response.waiting) moments.push({ at: response.waiting.since, text: waiting(response.waiting), kind: "broken" });
  moments.sort((a, b) => Math.floor(a.at) - Math.floor(b.at) || rank(a) - rank(b) || a.at - b.at);
  return end[0]?.at === null ? withUntimed(moments, end[0]) : moments;
}

/** Return the moments with an end whose time is not known: before the deliveries, because those follow it. */
function withUntimed(moments, end) {
  const first = moments.findIndex((one) => rank(one) === DELIVERY);
  return moments.toSpliced(first < 0 ? moments.length : first, 0, end);
}

/** Times of the service are whole seconds, so within one second these words decide. */
const rank = ({ kind }) => ({ accepted: 0, seen: 1 })[kind] ?? (kind.startsWith("delivery") ? DELIVERY : 2);

const accepted = (response) => ({ at: response.created_at, text: "Accepted.", kind: "accepted" });

function ended(response, live) {
  if (!TERMINAL.has(response.status)) return [];
  const told = endOf(response);
  const at = told ?? live?.endedAt ?? null;
  const why = reason(response.error);
  const took = told ? ` after ${lasting(told - response.created_at)}` : "";
  const kind = response.status === "completed" ? "good" : "bad";
  return [{ at, text: `${STATUS[response.status]}${took}.${why ? ` ${why}` : ""}`, kind }];
}

function attempts(deliveries) {
  return deliveries.flatMap(({ target, attempts: made }) =>
    made
      .filter((one) => one.at)
      .map((one) => ({
        at: one.at,
        text: `${target === "callback" ? "Callback" : "Reply queue"}: ${outcome(one)}.`,
        kind: isGood(one) ? "delivery good" : "delivery bad",
      })),
  );
}

export const isGood = (attempt) => attempt.status >= 200 && attempt.status < 300;

/** Return how an attempt ended, in words. */
export function outcome(attempt) {
  const took = attempt.duration_ms ? ` in ${attempt.duration_ms} ms` : "";
  if (isGood(attempt)) return `accepted with ${attempt.status}${took}`;
  if (attempt.status) return `refused with ${attempt.status}${took}`;
  return attempt.error === "unknown" ? "it is not known whether it was sent" : `failed: ${attempt.error}${took}`;
}

/** Return moments as elements of a list. */
export function drawn(moments) {
  return moments.map(({ at, text, kind }) =>
    h(
      "li",
      { "data-kind": kind },
      at === null ? null : h("time", { datetime: new Date(at * 1000).toISOString() }, moment(at)),
      h("span", {}, text),
    ),
  );
}
