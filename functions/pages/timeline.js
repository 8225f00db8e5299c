/** The life of a response, as its own times, this tab and its deliveries tell it. */

import { h } from "./dom.js";
import { lasting, moment, reason, STATUS, TERMINAL, waiting } from "./words.js";

/** Return the moments of a life, in order. Each has `at` in unix seconds, a text and a kind. */
export function story(response, live, deliveries) {
  const seen = live?.notes ?? [];
  const moments = [accepted(response), ...seen, ...ended(response, live), ...attempts(deliveries)];
  if (response.waiting) moments.push({ at: response.waiting.since, text: waiting(response.waiting), kind: "broken" });
  return moments.sort((a, b) => Math.floor(a.at) - Math.floor(b.at) || rank(a) - rank(b) || a.at - b.at);
}

/** Times of the service are whole seconds, so within one second these words decide. */
const rank = ({ kind }) => ({ accepted: 0, seen: 1, delivery: 3 })[kind] ?? 2;

const accepted = (response) => ({ at: response.created_at, text: "Accepted.", kind: "accepted" });

function ended(response, live) {
  if (!TERMINAL.has(response.status)) return [];
  const at = response.completed_at ?? live?.endedAt;
  if (!at) return [];
  const why = reason(response.error);
  const took = response.completed_at ? ` after ${lasting(at - response.created_at)}` : "";
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
      h("time", { datetime: new Date(at * 1000).toISOString() }, moment(at)),
      h("span", {}, text),
    ),
  );
}
