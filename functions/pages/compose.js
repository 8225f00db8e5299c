/** A new response: the model, a text or a file, and how it is to be answered. */

import * as api from "./api.js";
import { announce, button, h, say, toast } from "./dom.js";
import { MOST_BYTES, read, size } from "./files.js";
import { remember } from "./requests.js";
import { failure, lasting, nowS } from "./words.js";

export class Compose {
  #form = null;
  #fields = {};
  #files = [];
  #waiting = null;
  #unanswered = null; // the body and key of a request that may have been accepted: sent again, it begins nothing

  constructor(streams, onMade) {
    this.streams = streams;
    this.onMade = onMade;
  }

  /** Show the form in an element. What was typed stays. */
  show(place) {
    this.#form ??= this.#built();
    place.replaceChildren(this.#form);
  }

  /** Wait no more for the answer of a request. What was typed stays. */
  stop() {
    this.#waiting?.abort();
  }

  /** Forget what was typed, for whoever signs in next. */
  forget() {
    this.stop();
    this.#form = this.#unanswered = null;
    this.#files = [];
  }

  #built() {
    const f = (this.#fields = {
      model: h("input", { id: "model", list: "models", required: true, autocomplete: "off", spellcheck: "false" }),
      text: h("textarea", { id: "text", rows: 9, placeholder: "Ask something, or drop a file here" }),
      file: h("input", { id: "file", type: "file", multiple: true, change: () => void this.#take(f.file.files) }),
      files: h("ul", { class: "files", "aria-label": "Files" }),
      background: this.#check("background", true),
      stream: this.#check("stream", true),
      callback: h("input", { id: "callback", type: "url", autocomplete: "off", placeholder: "https://…" }),
      error: h("p", { class: "error", role: "alert" }),
      send: h("button", { type: "submit", class: "button primary" }, "Send"),
      stop: button("Stop waiting", () => this.stop(), { hidden: true }),
      state: h("p", { class: "hint", role: "status" }),
    });
    const form = h("form", { class: "form compose", id: "compose", novalidate: true }, ...this.#parts(f));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send();
    });
    this.#listenForFiles(form);
    return form;
  }

  #check(id, checked) {
    return h("input", { id, type: "checkbox", checked });
  }

  #parts(f) {
    const option = (input, title, hint) =>
      h("label", { class: "option", for: input.id }, input, h("span", {}, title, h("small", {}, hint)));
    return [
      h("h2", { tabindex: "-1" }, "New response"),
      h("div", { class: "field" }, h("label", { for: "model" }, "Model"), f.model),
      h("div", { class: "field" }, h("label", { for: "text" }, "Input"), f.text, f.files),
      h("div", { class: "field" }, h("label", { for: "file" }, `Files, up to ${size(MOST_BYTES)} in all`), f.file),
      h(
        "div",
        { class: "options" },
        option(f.background, "Background", "The work goes on when you leave"),
        option(f.stream, "Stream", "See the text as it is written"),
      ),
      h("div", { class: "field" }, h("label", { for: "callback" }, "Callback URL (optional)"), f.callback),
      f.error,
      h("div", { class: "actions" }, f.send, f.stop, f.state),
    ];
  }

  // Files

  #listenForFiles(form) {
    const over = (isOver) => (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      form.classList.toggle("dropping", isOver);
    };
    form.addEventListener("dragover", over(true));
    form.addEventListener("dragleave", over(false));
    form.addEventListener("drop", (event) => {
      over(false)(event);
      void this.#take(event.dataTransfer.files);
    });
  }

  async #take(files) {
    const form = this.#form;
    const wrong = [];
    for (const file of [...files]) {
      const taken = await read(file, MOST_BYTES - this.#files.reduce((sum, one) => sum + one.bytes, 0));
      if (form !== this.#form) return; // the caller has signed out
      if (taken.wrong) wrong.push(taken.wrong);
      else this.#add(file, taken);
    }
    this.#refuse(wrong.join(" "));
    this.#fields.file.value = "";
  }

  #add(file, { text, attached }) {
    if (attached) {
      this.#files.push(attached);
      return this.#list();
    }
    const area = this.#fields.text;
    area.value += (area.value ? "\n\n" : "") + text;
    announce(`The text of ${file.name} was added`);
  }

  #list() {
    const rows = this.#files.map((one) =>
      h(
        "li",
        {},
        `${one.name}, ${size(one.bytes)} `,
        button("Remove", () => this.#remove(one), { class: "button quiet", "aria-label": `Remove ${one.name}` }),
      ),
    );
    this.#fields.files.replaceChildren(...rows);
  }

  #remove(one) {
    this.#files = this.#files.filter((other) => other !== one);
    this.#list();
  }

  // Sending

  #refuse(text) {
    say(this.#fields.error, text);
  }

  #body() {
    const f = this.#fields;
    const text = f.text.value;
    const content = [...(text ? [{ type: "input_text", text }] : []), ...this.#files.map((one) => one.part)];
    return {
      model: f.model.value.trim(),
      input: this.#files.length ? [{ role: "user", content }] : text,
      background: f.background.checked,
      ...(f.stream.checked ? { stream: true } : {}),
      ...(f.callback.value.trim() ? { callback_url: f.callback.value.trim() } : {}),
    };
  }

  #missing(body) {
    if (!body.model) return ["Name a model.", this.#fields.model];
    if (!body.input.length) return ["Write a text, or add a file.", this.#fields.text];
    return null;
  }

  async #send() {
    const body = this.#body();
    const missing = this.#missing(body);
    this.#refuse(missing ? missing[0] : "");
    if (missing) return missing[1].focus();
    this.#busy(true);
    const ticker = this.#countSeconds();
    const form = this.#form;
    try {
      const id = body.stream ? await this.#stream(body) : await this.#whole(body);
      if (form !== this.#form) return; // the caller has signed out
      this.#unanswered = null;
      remember(id, body);
      this.onMade();
      this.#lead(id, body);
    } catch (error) {
      if (form === this.#form) this.#fail(error);
    } finally {
      clearInterval(ticker);
      this.#busy(false);
    }
  }

  /** Show the response, unless something else is looked at by now. */
  #lead(id, body) {
    if (this.#form.checkVisibility()) location.hash = `#/responses/${id}`;
    else toast(`Your response has ${body.background || body.stream ? "begun" : "ended"}. It is in the list.`);
  }

  #fail(error) {
    if (error.status < 500) this.#unanswered = null; // nothing was begun
    const isStopped = error.name === "AbortError";
    this.#refuse(isStopped ? "You stopped waiting. The work goes on." : failure(error, "Send it again."));
    if (!isStopped && !this.#form.checkVisibility()) toast(`New response: ${failure(error, "Send it again.")}`);
  }

  #busy(isBusy) {
    const f = this.#fields;
    f.send.disabled = isBusy;
    f.stop.hidden = true;
    say(f.state, isBusy ? "Sending…" : "");
  }

  #countSeconds() {
    const since = nowS();
    return setInterval(() => {
      const isLong = nowS() - since > 1;
      if (isLong) say(this.#fields.state, `Waiting for the answer, ${lasting(nowS() - since)}`);
      this.#fields.stop.hidden = !isLong;
    }, 1_000);
  }

  async #whole(body) {
    const { signal } = (this.#waiting = new AbortController());
    const response = await api.call("POST", "responses", { body, headers: this.#headers(body), signal, deadlineMs: 0 });
    return response.id;
  }

  /** Begin a stream, and hand it over when it has named its response. */
  async #stream(body) {
    const control = (this.#waiting = new AbortController());
    const source = await api.open("POST", "responses", { body, headers: this.#headers(body), signal: control.signal });
    const first = await firstEvent(source);
    if (!first) throw new Error("The stream broke before it began.");
    return this.streams.adopt(first.response.id, first, source, control).id;
  }

  /** Return the headers of this request. Until an id is known, each try of the same body has the same key. */
  #headers(body) {
    const text = JSON.stringify(body);
    if (this.#unanswered?.text !== text) this.#unanswered = { text, key: api.idempotencyKey() };
    return { "Idempotency-Key": this.#unanswered.key };
  }
}

async function firstEvent(source) {
  for (;;) {
    const { done, value } = await source.next();
    if (done) return null;
    if (value.data?.response) return value.data;
  }
}
