/** The list of responses. Rows are kept by id, and only what has changed is written. */

import * as api from "./api.js";
import { byId, h, say } from "./dom.js";
import { Poller } from "./poller.js";
import { age, count, failure, moment, STATUS, TERMINAL, tokens, waiting } from "./words.js";

const PAGE = 100;
const STRAYS = 5; // unfinished ones behind the first page that one round asks for

export class List {
  #asking = new AbortController(); // of the list that is shown. Another filter or caller ends what it has asked
  #forgotten = new Set();
  #rows = new Map(); // id -> {item, element, ...parts}
  #next = null;
  #selected = null;
  #strayed = 0;
  #ticker = 0;
  #typing = 0;

  constructor() {
    this.poller = new Poller(
      () => this.#ask(),
      () => (this.#live().length ? 3_000 : 15_000),
    );
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    byId("filter-status").addEventListener("change", () => this.#again());
    byId("filter-model").addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#again(), 300);
    });
    byId("more").addEventListener("click", () => void this.#more());
  }

  start() {
    this.poller.start();
    this.#ticker = setInterval(() => document.hidden || this.#tick(), 1_000);
  }

  stop() {
    this.poller.stop();
    clearInterval(this.#ticker);
    this.#clear();
    say(byId("list-state"), "");
    byId("more").hidden = true;
  }

  /** Mark the response that is shown beside the list. */
  select(id) {
    this.#rows.get(this.#selected)?.link.removeAttribute("aria-current");
    this.#selected = id;
    this.#rows.get(id)?.link.setAttribute("aria-current", "true");
  }

  /** Take what another part of the page knows about a response. */
  update(response) {
    const row = this.#rows.get(response.id);
    if (row) this.#write(row, { ...row.item, ...response });
  }

  /** Take a row out for good. An answer that is still on its way may have it. */
  forget(id) {
    this.#forgotten.add(id);
    this.remove(id);
  }

  remove(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
  }

  #clear() {
    this.#asking.abort();
    this.#asking = new AbortController();
    this.#rows.clear();
    byId("rows").replaceChildren();
    this.#next = null;
  }

  #again() {
    this.#clear();
    say(byId("list-state"), "");
    this.poller.now();
  }

  #query(after) {
    const status = byId("filter-status").value;
    const model = byId("filter-model").value.trim();
    const query = new URLSearchParams({ limit: PAGE });
    if (status) query.set("status", status);
    if (model) query.set("model", model);
    if (after) query.set("after", after);
    return query.toString();
  }

  async #ask() {
    const query = this.#query();
    const { signal } = this.#asking;
    try {
      const page = await api.get(`responses?${query}`, { signal });
      if (signal.aborted || query !== this.#query()) return true; // the filter has changed meanwhile
      const changed = this.#merge(page);
      if (await this.#strays(page, this.#asking.signal)) this.#tell();
      return changed;
    } catch (error) {
      if (signal.aborted) return true;
      say(byId("list-state"), failure(error));
      throw error;
    }
  }

  #merge(page) {
    if (this.#isBehind(page)) this.#clear();
    const isFirst = this.#rows.size <= page.data.length;
    if (isFirst) this.#next = page.next_after;
    const gone = this.#missing(page);
    for (const id of gone) this.remove(id);
    return this.#put(page.data, byId("rows").firstElementChild) || gone.length > 0;
  }

  /** Return whether there may be others between this page and the rows: more are new than a page has. */
  #isBehind({ data, has_more: hasMore }) {
    return hasMore && data.length > 0 && this.#rows.size > 0 && !data.some((item) => this.#rows.has(item.id));
  }

  /** Return the ids of rows that should be on this page, and are not: deleted, or no more what the filter asks for. */
  #missing(page) {
    const there = new Set(page.data.map((item) => item.id));
    const oldest = page.has_more ? (page.data.at(-1)?.created_at ?? Infinity) : -1;
    return [...this.#rows.values()]
      .filter(({ item }) => item.created_at > oldest && !there.has(item.id))
      .map(({ item }) => item.id);
  }

  /** Put items before an element, in their order. Return whether anything has changed. */
  #put(items, before) {
    let changed = false;
    let place = before;
    for (const item of items) {
      if (this.#forgotten.has(item.id)) continue;
      const known = this.#rows.get(item.id);
      const row = known ?? this.#add(item);
      changed = this.#write(row, item) || !known || changed;
      if (row.element === place) place = place.nextElementSibling;
      else byId("rows").insertBefore(row.element, place);
    }
    return changed;
  }

  /** Ask for some unfinished ones behind the page, each in its turn. Return whether the list is still the same. */
  async #strays(page, signal) {
    const there = new Set(page.data.map((item) => item.id));
    const strays = this.#live().filter((row) => !there.has(row.item.id));
    strays.sort((a, b) => a.asked - b.asked);
    for (const row of strays.slice(0, STRAYS)) if (!signal.aborted) await this.#stray(row, signal);
    return !signal.aborted;
  }

  async #stray(row, signal) {
    row.asked = this.#strayed += 1;
    const { id } = row.item;
    const wanted = byId("filter-status").value;
    try {
      const response = await api.get(`responses/${id}`, { signal });
      if (wanted && response.status !== wanted) this.remove(id);
      else this.update(response);
    } catch (error) {
      if (error.status === 404) this.remove(id);
    }
  }

  async #more() {
    const button = byId("more");
    const { signal } = this.#asking;
    button.disabled = true;
    try {
      const page = await api.get(`responses?${this.#query(this.#next)}`, { signal });
      if (signal.aborted) return;
      this.#next = page.next_after;
      this.#put(page.data, null);
      this.#tell();
    } catch (error) {
      if (!signal.aborted) say(byId("list-state"), failure(error));
    } finally {
      button.disabled = false;
    }
  }

  #live() {
    return [...this.#rows.values()].filter((row) => !TERMINAL.has(row.item.status));
  }

  #add(item) {
    const parts = {
      status: h("span", { class: "pill" }),
      model: h("span", { class: "row-model" }),
      age: h("span", { class: "row-age" }),
      id: h("code", { class: "row-id" }, `${item.id.slice(0, 13)}…`),
      more: h("span", { class: "row-more" }),
      wait: h("span", { class: "row-wait" }),
    };
    const { status, model, age: time, id, more, wait } = parts;
    const link = h("a", { href: `#/responses/${item.id}`, class: "row" }, status, model, time, id, more, wait);
    if (item.id === this.#selected) link.setAttribute("aria-current", "true");
    const row = { ...parts, link, element: h("li", {}, link), item: {}, asked: 0 };
    this.#rows.set(item.id, row);
    return row;
  }

  /** Write an item into its row. Return whether its status or what it waits for has changed. */
  #write(row, item) {
    const changed = row.item.status !== item.status || row.item.waiting?.reason !== item.waiting?.reason;
    row.item = item;
    if (changed) {
      row.status.dataset.status = item.status;
      say(row.status, STATUS[item.status] ?? item.status);
    }
    say(row.model, item.model ?? "no model");
    say(row.more, [tokens(item.usage), moment(item.created_at)].filter(Boolean).join(" · "));
    this.#time(row);
    return changed;
  }

  #time(row) {
    say(row.age, age(row.item));
    say(row.wait, TERMINAL.has(row.item.status) ? (row.item.error?.code ?? "") : waiting(row.item.waiting));
  }

  #tick() {
    for (const row of this.#live()) this.#time(row);
  }

  #tell() {
    const live = this.#live().length;
    const shown = count(this.#rows.size, "response");
    const nothing = byId("filter-status").value || byId("filter-model").value ? "None match." : "None yet.";
    say(byId("list-state"), this.#rows.size ? `${shown}${live ? `, ${live} unfinished` : ""}` : nothing);
    byId("more").hidden = !this.#next;
  }
}
