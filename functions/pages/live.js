/**
 * One response as its stream shows it. It connects, and after a break it goes on behind the last event it has seen.
 * What it has is kept for this tab, so that a reload goes on there, too.
 */

import * as api from "./api.js";
import { nowS, TERMINAL } from "./words.js";

const PREFIX = "console.stream.";
const KEPT = 1_500_000; // characters of a text that a tab keeps. A longer one is read again from its beginning
const SAVE_MS = 1_000;
const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000];
const ENDS = { "response.completed": "completed", "response.failed": "failed", "response.incomplete": "incomplete" };

/** What is kept of a stream: its place, its text, and the moments that this tab has seen. */
const fresh = (id) => ({
  id,
  last: -1,
  token: null,
  events: 0,
  text: [],
  part: "",
  thoughts: [],
  notes: [],
  isOver: false,
});

/** Wait for a time, and no longer than until the network is back. */
function passed(ms) {
  return new Promise((done) => {
    setTimeout(done, ms);
    addEventListener("online", done, { once: true, signal: AbortSignal.timeout(ms) });
  });
}

export class Live extends EventTarget {
  constructor(id, kept = null) {
    super();
    Object.assign(this, fresh(id), kept);
    this.epoch = 0; // grows when the text begins again
    this.response = null;
    this.wait = null;
    this.phase = this.isOver ? "over" : "waiting for a connection";
    this.isDropped = false;
    this.session = null; // of the loop that may read. A paused one has none
    this.control = null;
    this.source = null;
    this.leftAt = 0;
    this.refused = null;
    this.tries = 0;
    this.savedAt = 0;
  }

  /** Return what was kept of a stream in this tab, or null. */
  static kept(id) {
    const text = sessionStorage.getItem(PREFIX + id);
    return text ? new Live(id, JSON.parse(text)) : null;
  }

  /** Return the ids of the streams that were kept. */
  static ids() {
    const found = Object.keys(sessionStorage).filter((name) => name.startsWith(PREFIX));
    return found.map((name) => name.slice(PREFIX.length));
  }

  save() {
    this.savedAt = Date.now();
    const size = this.text.reduce((sum, piece) => sum + piece.length, 0);
    const isWhole = !this.isOver && size < KEPT;
    const place = isWhole || this.isOver ? {} : { last: -1, token: null, events: 0 };
    const { id, last, token, events, part, notes, isOver, endedAt } = this;
    const text = isWhole ? [this.text.join("")] : [];
    const thoughts = isWhole ? [this.thoughts.join("")] : [];
    this.#write({ id, last, token, events, part, notes, isOver, endedAt, text, thoughts, ...place });
  }

  #write(kept) {
    try {
      sessionStorage.setItem(PREFIX + this.id, JSON.stringify(kept));
    } catch {
      this.forget(); // the tab's store is full. A reload reads from the beginning
    }
  }

  forget() {
    sessionStorage.removeItem(PREFIX + this.id);
  }

  /** Add a line to what this tab has seen of the response's life. */
  note(text, kind) {
    this.notes.push({ at: nowS(), text, kind });
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  /** Go on with events that a POST has begun to send. */
  adopt(source, control) {
    this.source = source;
    this.control = control;
  }

  get isOpen() {
    return this.session !== null;
  }

  /** Read events until the end of the response, or until `pause` is called. */
  async connect() {
    if (this.isOpen || this.isOver) return;
    const session = (this.session = {});
    while (this.session === session) await this.#once(session);
  }

  /** Close the connection, and keep the place. */
  pause(phase) {
    this.session = null;
    this.phase = phase;
    this.leftAt = nowS();
    this.control?.abort();
    this.#tell();
  }

  /** Break the connection, as a tunnel does. */
  drop() {
    this.isDropped = true;
    this.note(`You dropped the connection after event ${this.last}. The work goes on.`, "broken");
    this.pause("disconnected by you");
    this.save();
  }

  async #once(session) {
    const source = this.source;
    this.source = null;
    try {
      await this.#read(source ?? (await this.#opened()), session);
      if (this.session === session) await this.#broken(session);
    } catch (error) {
      if (this.session === session) await this.#failed(error);
    }
  }

  async #opened() {
    this.phase = this.last < 0 ? "connecting" : "reconnecting";
    this.#tell();
    const { signal } = (this.control = new AbortController());
    const after = this.last < 0 ? "" : `&starting_after=${this.last}`;
    const source = await api.open("GET", `responses/${this.id}?stream=true${after}`, { signal });
    if (this.last >= 0 && !signal.aborted) this.#resumed();
    return source;
  }

  #resumed() {
    const away = this.leftAt ? `, ${(nowS() - this.leftAt).toFixed(1)} s later` : "";
    this.note(`Resumed after event ${this.last}${away}. Nothing is sent twice.`, "resumed");
    this.leftAt = 0;
  }

  async #read(source, session) {
    for await (const frame of source) {
      if (this.session !== session) return;
      this.tries = 0;
      if (frame.comment !== undefined) this.#comment(frame.comment);
      else this.take(frame.data);
    }
  }

  #comment(text) {
    if (!text.startsWith("waiting ")) return;
    this.wait = JSON.parse(text.slice(8));
    this.#tell();
  }

  async #broken(session) {
    this.leftAt ||= nowS();
    const response = await api.get(`responses/${this.id}`);
    if (this.session !== session) return; // paused meanwhile, or signed out
    if (TERMINAL.has(response.status)) this.end(response);
    else await this.#failed(new Error("The connection broke."));
  }

  async #failed(error) {
    if (error.status < 500 && error.status !== 429) return this.#gone(error);
    this.leftAt ||= nowS();
    const waitMs = RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)];
    if (this.tries === 0) this.note(`The connection broke after event ${this.last}.`, "broken");
    this.tries += 1;
    this.phase = "reconnecting";
    this.#tell();
    await passed(waitMs);
  }

  /** The service refuses this stream, now and later. */
  #gone(error) {
    this.refused = error;
    this.session = null;
    this.isOver = true;
    this.phase = "over";
    this.forget();
    this.#tell();
  }

  /** Take one event. */
  take(event) {
    if (event.sequence_number !== undefined) this.last = event.sequence_number;
    if (event.continuation_token) this.token = event.continuation_token;
    this.events += 1;
    this.wait = null;
    if (event.response) this.response = event.response;
    if (event.type in ENDS) return this.end(event.response);
    this.#apply(event);
    if (Date.now() - this.savedAt > SAVE_MS) this.save();
    this.#tell();
  }

  #apply(event) {
    const kind = event.type.replace(/^response\./, "");
    if (kind === "in_progress") this.#begin();
    else if (kind === "output_text.delta" || kind === "refusal.delta") this.#hear(event);
    else if (kind.startsWith("reasoning") && kind.endsWith(".delta")) this.#think(event.delta);
    else if (kind === "function_call_arguments.delta") this.phase = "calling a tool";
    else if (kind === "queued" || kind === "created") this.phase = "queued";
  }

  #begin() {
    if (this.text.length) this.note("The upstream began again. The text before is replaced.", "replaced");
    else if (this.phase !== "working") this.notes.push({ at: nowS(), text: "The upstream works on it.", kind: "seen" });
    this.phase = "working";
    this.text = [];
    this.thoughts = [];
    this.part = "";
    this.epoch += 1;
  }

  #hear(event) {
    const part = `${event.output_index}.${event.content_index}`;
    if (this.part && this.part !== part) this.text.push("\n\n");
    if (!this.text.length) this.notes.push({ at: nowS(), text: "The first words arrived.", kind: "seen" });
    this.part = part;
    this.text.push(event.delta);
    this.phase = "writing";
  }

  #think(delta) {
    this.thoughts.push(delta);
    this.phase = "reasoning";
  }

  /** Take the response's end. */
  end(response) {
    this.response = response;
    this.isOver = true;
    this.session = null;
    this.phase = "over";
    this.wait = null;
    this.token = null;
    this.endedAt ??= nowS();
    this.control?.abort();
    this.save();
    this.dispatchEvent(new Event("end"));
    this.#tell();
  }
}
