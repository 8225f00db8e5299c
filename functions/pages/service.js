/** What operators see of all callers. The answer has counts, and nothing that a caller wrote. */

import * as api from "./api.js";
import { bars, line } from "./charts.js";
import { byId, h, say } from "./dom.js";
import { Poller } from "./poller.js";
import { age, count, failure, lasting, moment, nowS, STATUS } from "./words.js";

const ENDS = ["completed", "failed", "incomplete", "cancelled"];
const EVERY_MS = 10_000;
const SAMPLES = 2_000; // more than five hours
const MINUTES = 60;

export class ServiceView {
  #samples = [];
  #shown = "";

  constructor() {
    this.error = h("p", { class: "error", role: "alert" });
    this.state = h("p", { class: "hint", role: "status" });
    this.numbers = h("div", { class: "service-body" });
    this.tables = h("div", { class: "service-body" });
    this.poller = new Poller(
      () => this.#ask(),
      () => EVERY_MS,
    );
  }

  start() {
    byId("service").replaceChildren(h("h1", {}, "Service"), this.state, this.error, this.numbers, this.tables);
    this.poller.start();
  }

  stop() {
    this.poller.stop();
  }

  /** Forget what was seen, for whoever signs in next. */
  forget() {
    this.#samples = [];
    this.#shown = "";
    const { state, error, numbers, tables } = this;
    for (const element of [state, error, numbers, tables, byId("service")]) element.replaceChildren();
  }

  async #ask() {
    try {
      const status = await api.get("operator/status");
      say(this.error, "");
      this.#sample(status);
      this.#draw(status);
    } catch (error) {
      say(this.error, failure(error));
      throw error;
    }
    return false;
  }

  #sample({ at, in_flight: inFlight, alarms }) {
    if (this.#samples.at(-1)?.at === at) return;
    this.#samples.push({ at, inFlight: inFlight.count, overdue: alarms.overdue });
    if (this.#samples.length > SAMPLES) this.#samples.shift();
  }

  #draw(status) {
    const partly = status.is_whole ? "" : " There is more than one request can read, so the counts are too low.";
    say(this.state, `All callers, as of ${moment(status.at)}.${partly}`);
    this.numbers.replaceChildren(
      h("div", { class: "tiles" }, ...tiles(status)),
      h("div", { class: "charts" }, ...this.#charts(status)),
      h(
        "div",
        { class: "cards" },
        counted("In flight by model", status.in_flight.by_model),
        counted("In flight by caller", status.in_flight.by_caller),
        counted("What responses wait for", status.in_flight.waiting),
        counted("Overdue alarms by kind", status.alarms.by_kind),
      ),
    );
    this.#drawTables(status);
  }

  /** Draw the tables again if they have changed, because a drawn one loses the focus. */
  #drawTables({ deliveries_in_trouble: troubles, gates }) {
    const shown = JSON.stringify([troubles, gates]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.tables.replaceChildren(
      table(
        "Deliveries in trouble, by host",
        ["Host", "State", "Deliveries", "Callers", "Since"],
        troubles.map(trouble),
      ),
      table("Gates of upstreams", ["Upstream", "State", "At work", "Limit", "Waiting"], gates.map(gate)),
    );
  }

  #charts(status) {
    const minutes = byMinute(status);
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const { accepted, good, bad } = minutes;
    const [first] = this.#samples;
    const spanS = Math.max(60, this.#samples.at(-1).at - first.at);
    const since = `since ${moment(first.at)}, while this page is open`;
    return [
      bars("Accepted by minute", accepted, [], `${sum(accepted)} in the last hour, by the process that answers`),
      bars("Ended by minute", good, bad, `${sum(good)} completed and ${sum(bad)} other ends in the last hour`),
      line(
        "In flight",
        this.#samples.map((one) => ({ at: one.at, value: one.inFlight })),
        spanS,
        since,
      ),
      line(
        "Alarms overdue",
        this.#samples.map((one) => ({ at: one.at, value: one.overdue })),
        spanS,
        since,
      ),
    ];
  }
}

/** Return what the last 60 minutes had: accepted, ended well, ended otherwise. */
function byMinute(status) {
  const first = Math.floor(status.at / 60) - MINUTES + 1;
  const found = new Map(status.this_process.by_minute.map((one) => [one.at / 60, one]));
  const all = Array.from({ length: MINUTES }, (_, i) => found.get(first + i) ?? {});
  return {
    accepted: all.map((one) => one.accepted ?? 0),
    good: all.map((one) => one.completed ?? 0),
    bad: all.map((one) => ENDS.slice(1).reduce((sum, name) => sum + (one[name] ?? 0), 0)),
  };
}

function tiles({ in_flight: inFlight, alarms, deliveries_in_trouble: troubles }) {
  const kinds = Object.entries(inFlight.by_kind).map(([kind, n]) => `${n} ${kind}`);
  const { oldest } = inFlight;
  const deliveries = troubles.reduce((sum, one) => sum + one.count, 0);
  return [
    tile("In flight", String(inFlight.count), kinds.join(", ") || "Nothing"),
    tile(
      "Oldest",
      oldest ? age(oldest) : "–",
      oldest ? described(oldest) : "Nothing is in flight",
    ),
    tile(
      "Alarms overdue",
      String(alarms.overdue),
      alarms.since ? `The first for ${lasting(nowS() - alarms.since)}` : "All are in time",
      alarms.overdue > 0,
    ),
    tile(
      "Deliveries in trouble",
      String(deliveries),
      deliveries ? `To ${count(troubles.length, "host")}` : "None",
      deliveries > 0,
    ),
  ];
}

/** Return what a response is, in words: its model, its caller and its status. */
export function described({ model, caller, status }) {
  return `${model ?? "no model"}, of ${caller}, ${STATUS[status].toLowerCase()}`;
}

function tile(name, value, more, isBad = false) {
  return h(
    "div",
    { class: "tile card", "data-bad": isBad },
    h("h2", {}, name),
    h("p", { class: "tile-value" }, value),
    h("p", { class: "hint" }, more),
  );
}

function counted(title, counts) {
  const pairs = Object.entries(counts);
  const list = h(
    "dl",
    { class: "counts" },
    pairs.flatMap(([name, n]) => [h("dt", {}, name || "none"), h("dd", {}, String(n))]),
  );
  return h("section", { class: "card" }, h("h2", {}, title), pairs.length ? list : h("p", { class: "hint" }, "None."));
}

const trouble = (one) => [one.host ?? "unknown", one.state, one.count, one.callers, moment(one.since)];

function gate(one) {
  const until = one.until ? ` until ${moment(one.until)}` : "";
  const why = one.reason ? ` (${one.reason})` : "";
  return [one.name, one.state + why + until, one.at_work, one.limit ?? "none", one.waiting];
}

function table(title, heads, rows) {
  const cells = (row) =>
    h(
      "tr",
      {},
      row.map((cell) => h("td", {}, String(cell))),
    );
  const body = rows.length
    ? h(
        "div",
        { class: "wide", tabindex: "0", role: "region", "aria-label": title },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              heads.map((head) => h("th", { scope: "col" }, head)),
            ),
          ),
          h("tbody", {}, rows.map(cells)),
        ),
      )
    : h("p", { class: "hint" }, "None.");
  return h("section", { class: "card" }, h("h2", {}, title), body);
}
