/** The answer: its text as it grows, what is no text, and whether the text is the one that is stored. */

import { h, say } from "./dom.js";
import { Pane } from "./pane.js";
import { count, outputText } from "./words.js";

export class Answer {
  #ended = null;

  constructor() {
    this.text = h("div", {
      class: "text",
      id: "output",
      tabindex: "0",
      role: "region",
      "aria-label": "Text of the answer",
    });
    this.verdict = h("p", { class: "hint", id: "verdict" });
    const thoughts = h("div", { class: "text" });
    this.thoughts = h("details", { class: "thoughts", hidden: true }, h("summary", {}, "Reasoning"), thoughts);
    this.items = h("div", { class: "items" });
    this.pane = new Pane(this.text);
    this.thoughtPane = new Pane(thoughts);
    this.elements = [this.text, this.verdict, this.thoughts, this.items];
  }

  /** Show what is known of a response: by its stream, if there is one, and by the stored object when it has ended. */
  draw(response, live, isEnded) {
    const isRead = live && (live.text.length > 0 || !live.isOver);
    if (isRead) this.pane.show(live.text, live.epoch);
    this.#think(live);
    if (isEnded) this.#end(response, isRead ? live.text.join("") : null);
  }

  #think(live) {
    this.thoughts.hidden = !live?.thoughts.length;
    if (live?.thoughts.length) this.thoughtPane.show(live.thoughts, live.epoch);
  }

  #end(response, read) {
    if (response === this.#ended) return;
    this.#ended = response;
    const stored = outputText(response);
    const isKept = read !== null && (read === stored || (!stored && response.status !== "completed"));
    if (!isKept) this.pane.show([stored], "stored");
    say(this.verdict, verdict(read, stored, isKept));
    const others = (response.output ?? []).filter((item) => item.type !== "message");
    this.items.replaceChildren(...others.map(item));
  }
}

function verdict(read, stored, isKept) {
  const characters = count(stored.length, "character");
  if (read === null) return stored ? characters : "There is no text.";
  if (read === stored) return `Checked: the streamed text and the stored response are the same ${characters}.`;
  if (isKept) return "This text came before the end. The stored response has none.";
  return stored ? "The stored response is shown. The stream had another text." : "The stored response has no text.";
}

function item(one) {
  const name = one.name ? `${one.type}: ${one.name}` : one.type;
  return h("details", {}, h("summary", {}, name), h("pre", { tabindex: "0" }, JSON.stringify(one, null, 2)));
}
