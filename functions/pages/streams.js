/**
 * All streams of this tab. A browser opens six connections to a host at once, and the page needs some of them. So a few
 * streams are connected, and the others wait. That loses nothing, because each goes on behind its last event.
 */

import { Live } from "./live.js";

const CONNECTED = 3;
const KEPT = 30; // ended streams whose story a tab keeps

export class Streams {
  #all = new Map();
  #viewed = null;

  constructor() {
    addEventListener("pagehide", () => this.#save());
  }

  /** Go on with every stream that was open when the page was left. Return how many those are. */
  restore() {
    const kept = Live.ids().map((id) => Live.kept(id));
    for (const live of kept) this.#add(live);
    for (const live of kept.filter((one) => one.isOver).slice(KEPT)) live.forget();
    this.#balance();
    return kept.filter((live) => !live.isOver).length;
  }

  /** Return the stream of a response, which is opened if it has not ended. */
  follow(id) {
    const live = this.#all.get(id) ?? this.#add(new Live(id));
    this.#balance();
    return live;
  }

  /** Return the stream of a response if this tab has one. */
  get(id) {
    return this.#all.get(id);
  }

  /** Take over a stream that a POST has begun. */
  adopt(id, first, source, control) {
    this.#all.get(id)?.pause("over"); // a try before this one may have begun it
    const live = this.#add(new Live(id));
    live.adopt(source, control);
    live.take(first);
    this.#viewed = id;
    this.#balance();
    return live;
  }

  /** Connect the stream of this response before all others. */
  view(id) {
    this.#viewed = id;
    this.#balance();
  }

  /** Drop the connection of a stream, or connect it again. */
  toggle(live) {
    if (!live.isDropped) return live.drop();
    live.isDropped = false;
    this.#balance();
  }

  forget(id) {
    const live = this.#all.get(id);
    live?.pause("over");
    live?.forget();
    this.#all.delete(id);
  }

  /** Close all streams. */
  close() {
    for (const live of this.#all.values()) live.pause("over");
    this.#all.clear();
  }

  #add(live) {
    this.#all.set(live.id, live);
    live.addEventListener("end", () => this.#balance());
    return live;
  }

  #save() {
    for (const live of this.#all.values()) if (!live.isOver) live.save();
  }

  #balance() {
    const open = [...this.#all.values()].filter((live) => !live.isOver && !live.isDropped);
    open.sort((a, b) => (b.id === this.#viewed) - (a.id === this.#viewed));
    for (const live of open.slice(CONNECTED)) if (live.isOpen) live.pause("paused, until another stream ends");
    for (const live of open.slice(0, CONNECTED)) if (!live.isOpen) void live.connect();
  }
}
