/** One response: what it does now, its text, its life, its deliveries, and what can be done with it. */

import { Answer } from "./answer.js";
import * as api from "./api.js";
import { Controls } from "./controls.js";
import { Deliveries } from "./deliveries.js";
import { announce, h, say } from "./dom.js";
import { Poller } from "./poller.js";
import { drawn, story } from "./timeline.js";
import { age, count, failure, lasting, nowS, reason, STATUS, TERMINAL, tokens, waiting } from "./words.js";

const CHARACTERS_A_TOKEN = 4;

export class ResponseView {
  #isClosed = false;
  #isDue = false;
  #story = "";
  #told = -1;
  #followers = new AbortController();
  #asking = new AbortController();

  constructor(place, id, streams, list) {
    Object.assign(this, { place, id, streams, list, response: null, live: streams.get(id) ?? null, refused: "" });
    this.deliveries = new Deliveries(id, (isAgain) => this.#onDeliveries(isAgain));
    this.controls = new Controls(this);
    this.answer = new Answer();
    this.poller = new Poller(
      () => this.#ask(),
      () => 4_000,
    );
    this.deliveryPoller = new Poller(
      () => this.#askDeliveries(),
      () => 5_000,
    );
    this.#build();
    if (this.live) this.#listen();
    streams.view(id);
    this.poller.start();
    this.ticker = setInterval(() => document.hidden || this.#progress(), 200);
  }

  close() {
    this.#isClosed = true;
    this.#followers.abort();
    this.hush();
    clearInterval(this.ticker);
  }

  /** Ask no more, and forget what was asked: the response is about to go. */
  hush() {
    this.poller.stop();
    this.deliveryPoller.stop();
    this.#asking.abort();
  }

  /** Ask for the response again, at once. */
  again() {
    if (this.#asking.signal.aborted) this.#asking = new AbortController();
    this.poller.start();
    this.deliveryPoller.start();
  }

  /** Read the response as a stream from now on. */
  follow() {
    this.live = this.streams.follow(this.id);
    this.#listen();
    this.#draw();
  }

  // What is on the page

  #build() {
    const p = (this.parts = {
      title: h("h2", { id: "title", tabindex: "-1" }, "Response"),
      status: h("span", { class: "pill" }),
      where: h("code", { class: "whole-id" }, this.id),
      bar: h("div", { class: "progress", "data-state": "idle" }, h("div", { class: "progress-bar" })),
      phase: h("strong", { id: "phase" }),
      elapsed: h("span", { id: "elapsed" }),
      events: h("span", { id: "events" }),
      tokens: h("span", { id: "tokens" }),
      wait: h("p", { class: "notice", hidden: true }),
      error: h("p", { class: "error", role: "alert" }),
      story: h("ol", { class: "timeline", id: "timeline" }),
    });
    this.place.replaceChildren(
      h("a", { class: "back", href: "#/" }, "← All responses"),
      h("div", { class: "head" }, p.title, p.status),
      h("p", { class: "hint" }, p.where),
      h("div", { class: "line" }, p.phase, p.elapsed, p.events, p.tokens),
      p.bar,
      p.wait,
      p.error,
      this.controls.element,
      ...this.answer.elements,
      h(
        "div",
        { class: "cards" },
        h(
          "section",
          { class: "card", "aria-labelledby": "life-title" },
          h("h3", { id: "life-title" }, "Timeline"),
          p.story,
        ),
        this.deliveries.element,
      ),
    );
  }

  // What is known

  #listen() {
    const { signal } = this.#followers;
    this.live.addEventListener("change", () => this.#onLive(), { signal });
    this.live.addEventListener("end", () => this.again(), { signal });
  }

  /** Take what the stream tells, once a frame. */
  #onLive() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      if (!this.#isClosed && this.live) this.#tell(); // a refused one is let go
    });
  }

  #tell() {
    const { response, refused, isOver } = this.live;
    if (refused) return this.#refuse(refused);
    if (isOver && response) this.response = response;
    else if (response && this.response && response.status !== this.response.status) {
      this.response = { ...this.response, status: response.status };
      this.list.update({ id: this.id, status: response.status });
    }
    this.#draw();
  }

  #refuse(error) {
    this.streams.forget(this.id);
    this.live = null;
    this.refused = failure(error);
    say(this.parts.error, this.refused);
    this.#draw();
  }

  #onDeliveries(isAgain) {
    if (isAgain) this.deliveryPoller.start();
    this.#life();
  }

  async #ask() {
    try {
      const response = await api.get(`responses/${this.id}`, { signal: this.#asking.signal });
      if (this.#isClosed) return false;
      return this.#take(response);
    } catch (error) {
      if (error.name !== "AbortError") say(this.parts.error, failure(error));
      if (error.status === 404) this.poller.stop();
      throw error;
    }
  }

  #take(response) {
    const changed = response.status !== this.response?.status;
    say(this.parts.error, reason(response.error) || (TERMINAL.has(response.status) ? "" : this.refused));
    this.response = response;
    this.list.update({
      id: this.id,
      status: response.status,
      usage: response.usage,
      completed_at: response.completed_at,
      ended_at: response.ended_at,
    });
    if (TERMINAL.has(response.status)) this.#onEnd();
    this.#draw();
    return changed;
  }

  #onEnd() {
    this.poller.stop();
    this.deliveryPoller.start();
    announce(`The response is ${STATUS[this.response.status].toLowerCase()}`);
  }

  async #askDeliveries() {
    if (!TERMINAL.has(this.response?.status)) return this.deliveryPoller.stop();
    const before = this.deliveries.data;
    const isOpen = await this.deliveries.ask(this.#asking.signal);
    if (!isOpen) this.deliveryPoller.stop();
    return this.deliveries.data !== before;
  }

  // Drawing

  #draw() {
    if (this.#isClosed || !this.response) return;
    const { response, live, parts } = this;
    say(parts.title, response.model ?? "Response");
    parts.status.dataset.status = response.status;
    say(parts.status, STATUS[response.status] ?? response.status);
    this.answer.draw(response, live, this.#isEnded());
    const wait = waiting(live?.wait ?? response.waiting);
    parts.wait.hidden = !wait;
    say(parts.wait, wait);
    this.controls.draw();
    this.#progress();
    this.#life();
  }

  #isEnded() {
    return TERMINAL.has(this.response?.status) && (!this.live || this.live.isOver);
  }

  #progress() {
    const { response, live, parts } = this;
    if (!response) return;
    const isEnded = this.#isEnded();
    say(parts.phase, isEnded ? STATUS[response.status] : (live?.phase ?? STATUS[response.status]));
    say(parts.elapsed, this.#elapsed());
    say(parts.events, live?.events ? count(live.events, "event") : "");
    say(parts.tokens, this.#tokens());
    parts.bar.dataset.state = isEnded ? response.status : live?.isDropped ? "dropped" : "running";
    this.place.setAttribute("aria-busy", String(!isEnded && !live?.isDropped));
  }

  #elapsed() {
    const { response, live } = this;
    if (!this.#isEnded()) return lasting(nowS() - response.created_at);
    return age(response, live?.endedAt);
  }

  #tokens() {
    const { response, live } = this;
    if (response.usage) return tokens(response.usage);
    const characters = live?.text.reduce((sum, piece) => sum + piece.length, 0) ?? 0;
    return characters ? `about ${count(Math.ceil(characters / CHARACTERS_A_TOKEN), "token")}` : "";
  }

  #life() {
    if (!this.response) return;
    this.#announce();
    const moments = story(this.response, this.live, this.deliveries.data);
    const text = JSON.stringify(moments);
    if (text === this.#story) return;
    this.#story = text;
    this.parts.story.replaceChildren(...drawn(moments));
  }

  /** Tell what has happened to the connection since the last time. */
  #announce() {
    const told = this.live?.notes.length ?? 0;
    if (this.#told >= 0 && told > this.#told) announce(this.live.notes.at(-1).text);
    this.#told = told;
  }
}
