/** The deliveries of a response: every attempt, and a button that begins them again. */

import * as api from "./api.js";
import { button, h, say, toast } from "./dom.js";
import { isGood, outcome } from "./timeline.js";
import { failure, moment } from "./words.js";

const STATES = {
  pending: "Pending",
  delivered: "Delivered",
  failed: "Failed",
  gone: "Gone",
  blocked: "Blocked",
};
const WAITS = { circuit_breaker: "Its host fails, so it waits for a probe.", capacity: "It waits for a free slot." };

export class Deliveries {
  #shown = "";

  constructor(id, onChange) {
    this.id = id;
    this.onChange = onChange;
    this.data = [];
    this.body = h("div", {}, h("p", { class: "hint" }, "Deliveries begin when the response has ended."));
    this.error = h("p", { class: "error", role: "alert" });
    this.element = h(
      "section",
      { class: "card", "aria-labelledby": "deliveries-title" },
      h("h3", { id: "deliveries-title" }, "Deliveries"),
      this.body,
      this.error,
    );
  }

  /** Ask for the deliveries. Return whether any is still open. `data` is another list only if something changed. */
  async ask(signal) {
    const { data } = await api.get(`responses/${this.id}/deliveries`, { signal });
    const text = JSON.stringify(data);
    if (text !== this.#shown) {
      this.#shown = text;
      this.data = data;
      this.#draw();
      this.onChange();
    }
    return data.some((one) => one.state === "pending");
  }

  #draw() {
    const none = h("p", { class: "hint" }, "No callback and no reply queue was asked for.");
    this.body.replaceChildren(...(this.data.length ? this.data.map((one) => this.#one(one)) : [none]));
  }

  #one(delivery) {
    const name = delivery.target === "callback" ? "Callback" : "Reply queue";
    const again = button("Redeliver", () => void this.#redeliver(delivery.target), {
      "aria-label": `Redeliver: ${name}`,
    });
    return h(
      "div",
      { class: "delivery" },
      h(
        "div",
        { class: "delivery-head" },
        h("strong", {}, name),
        h("span", { class: "pill", "data-status": delivery.state }, STATES[delivery.state] ?? delivery.state),
        again,
      ),
      h("p", { class: "hint" }, h("code", {}, delivery.webhook_id)),
      delivery.attempts.length ? h("ol", { class: "attempts" }, delivery.attempts.map(attempt)) : null,
      next(delivery),
    );
  }

  async #redeliver(target) {
    say(this.error, "");
    try {
      await api.call("POST", `responses/${this.id}/deliveries/redeliver`, { body: { target } });
      toast("Delivery started again");
      await this.ask();
      this.onChange(true);
    } catch (error) {
      say(this.error, failure(error, "Try again."));
    }
  }
}

function attempt(one) {
  const at = one.at ? moment(one.at) : "";
  return h(
    "li",
    { "data-kind": isGood(one) ? "good" : "bad" },
    h("span", {}, `Attempt ${one.attempt}${one.schedule > 1 ? `, schedule ${one.schedule}` : ""}`),
    h("span", {}, outcome(one)),
    h("time", {}, at),
  );
}

function next(delivery) {
  const wait = WAITS[delivery.waiting_for];
  const at = delivery.next_attempt_at ? `Next attempt at ${moment(delivery.next_attempt_at)}.` : "";
  const text = [wait, at].filter(Boolean).join(" ");
  return text ? h("p", { class: "hint" }, text) : null;
}
