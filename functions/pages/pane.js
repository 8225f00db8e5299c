/**
 * A long text that grows. Only what is new is added, once a frame, in blocks that the browser need not lay out while
 * they are out of sight.
 */

const BLOCK = 8_000; // characters, after which the next line begins a new block
const LONGEST = 64_000;

export class Pane {
  #element;
  #block = null;
  #size = 0;
  #shown = 0;
  #epoch = -1;
  #source = null;
  #isDue = false;

  constructor(element) {
    this.#element = element;
  }

  /** Show pieces of a text. Another `epoch` means another text. */
  show(pieces, epoch) {
    this.#source = { pieces, epoch };
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#isDue = false;
    const { pieces, epoch } = this.#source;
    const isAtEnd = this.#isAtEnd();
    if (epoch !== this.#epoch) this.#clear(epoch);
    const added = pieces.slice(this.#shown).join("");
    this.#shown = pieces.length;
    if (added) this.#add(added);
    if (isAtEnd) this.#element.scrollTop = this.#element.scrollHeight;
  }

  #isAtEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#element;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  #clear(epoch) {
    this.#epoch = epoch;
    this.#shown = 0;
    this.#block = null;
    this.#element.replaceChildren();
  }

  #add(text) {
    let rest = text;
    while (rest) {
      if (!this.#block || this.#size >= LONGEST) this.#begin();
      const cut = this.#cut(rest);
      this.#block.appendData(rest.slice(0, cut));
      this.#size += cut;
      rest = rest.slice(cut);
      if (rest) this.#begin();
    }
  }

  /** Return how much of a text belongs into this block: all, or up to the first line end behind its size. */
  #cut(text) {
    const from = Math.max(0, BLOCK - this.#size);
    const line = from < text.length ? text.indexOf("\n", from) : -1;
    return Math.min(line < 0 ? text.length : line + 1, LONGEST);
  }

  #begin() {
    const block = document.createElement("div");
    block.className = "block";
    this.#block = document.createTextNode("");
    this.#size = 0;
    block.append(this.#block);
    this.#element.append(block);
  }
}
