/** What can be done with a response: cancel, delete, copy, and dropping the connection of its stream. */

import * as api from "./api.js";
import { button, careful, copy, h, say, toast } from "./dom.js";
import { requestOf } from "./requests.js";
import { curl, python } from "./snippets.js";
import { failure, TERMINAL } from "./words.js";

export class Controls {
  constructor(view) {
    this.view = view;
    this.error = h("p", { class: "error", role: "alert" });
    this.drop = h(
      "button",
      {
        type: "button",
        class: "switch",
        role: "switch",
        "aria-checked": "false",
        id: "drop",
        click: () => this.#toggle(),
      },
      h("span", { class: "switch-track", "aria-hidden": "true" }),
      "Drop my connection",
    );
    this.follow = button("Follow its stream", () => view.follow(), { id: "follow" });
    this.cancel = careful("Cancel", "Cancel it?", () => this.#cancel());
    this.remove = careful("Delete", "Delete it?", () => this.#remove());
    this.token = button("Copy token", () => void copy(this.#token(), "Token"));
    const copies = [
      button("Copy as curl", () => void this.#copy(curl, "The request for curl")),
      button("Copy as Python", () => void this.#copy(python, "The request for Python")),
    ];
    this.element = h(
      "div",
      { class: "controls", hidden: true },
      h("div", { class: "actions" }, this.drop, this.follow, this.cancel, this.remove, this.token, ...copies),
      this.error,
    );
  }

  /** Show the buttons that make sense now. */
  draw() {
    const { response, live, refused } = this.view;
    this.element.hidden = false;
    const isEnded = TERMINAL.has(response.status);
    this.drop.hidden = !live || live.isOver;
    this.drop.setAttribute("aria-checked", String(Boolean(live?.isDropped)));
    this.follow.hidden = isEnded || Boolean(live) || Boolean(refused);
    this.cancel.hidden = isEnded;
    this.remove.hidden = !isEnded;
    this.token.hidden = !this.#token();
  }

  #token() {
    return this.view.live?.token ?? this.view.response.continuation_token;
  }

  #toggle() {
    this.view.streams.toggle(this.view.live);
    this.view.poller.now();
  }

  async #try(act) {
    say(this.error, "");
    try {
      await act();
    } catch (error) {
      say(this.error, failure(error, "Try again."));
    }
  }

  #cancel() {
    return this.#try(async () => {
      await api.call("POST", `responses/${this.view.id}/cancel`);
      toast("Cancelled");
      this.view.again();
    });
  }

  #remove() {
    return this.#try(async () => {
      this.view.hush();
      await api.call("DELETE", `responses/${this.view.id}`).catch((error) => {
        this.view.again();
        throw error;
      });
      this.view.streams.forget(this.view.id);
      this.view.list.forget(this.view.id);
      toast("Deleted");
      location.hash = "#/";
    });
  }

  #copy(written, what) {
    return this.#try(async () => copy(written(await requestOf(this.view.response)), what));
  }
}
