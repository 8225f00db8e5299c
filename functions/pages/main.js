/** The page: signing in, and which view the address shows. The address never has the key. */

import * as api from "./api.js";
import { Compose } from "./compose.js";
import { byId, h, say, toast } from "./dom.js";
import { List } from "./list.js";
import { ServiceView } from "./service.js";
import { Streams } from "./streams.js";
import { ResponseView } from "./view.js";
import { count, failure } from "./words.js";

const AGAIN_MS = 2_000;
const streams = new Streams();
const list = new List();
const compose = new Compose(streams, () => list.poller.now());
const service = new ServiceView();
let view = null;
let caller = null;
let last = ""; // who was signed in before

async function signIn(key) {
  if (!/^[!-~]+$/.test(key)) return say(byId("key-error"), "A key has no spaces and only plain characters.");
  say(byId("key-error"), "");
  api.keep(key);
  try {
    caller = await api.whoami();
  } catch (error) {
    return refuse(key, error);
  }
  begin();
}

/** Say why signing in has failed. A service that is away is asked again, and what the tab has is kept. */
function refuse(key, error) {
  if (error.status < 500 && error.status !== 429) return leave(failure(error));
  show("sign-in");
  say(byId("key-error"), failure(error));
  setTimeout(() => !caller && api.keyOf() === key && void signIn(key), AGAIN_MS);
}

function begin() {
  if (caller.name !== last) forget();
  last = caller.name;
  show("desk");
  say(byId("who"), caller.name);
  byId("nav").hidden = byId("session").hidden = false;
  byId("nav-service").hidden = caller.role !== "operator";
  void fillModels();
  list.start();
  const resumed = streams.restore();
  if (resumed) toast(`${count(resumed, "open stream")} resumed`);
  route();
}

/** Name the models in the fields that ask for one. Whoever has none types a name. */
async function fillModels() {
  const { data } = await api.get("models").catch(() => ({ data: [] }));
  const names = data.map((model) => h("option", { value: model.id }));
  byId("models").replaceChildren(...names);
}

/** Forget what the caller before has typed and seen: the next one in this tab may be another. */
function forget() {
  compose.forget();
  service.forget();
  byId("filter").reset();
}

/** Sign out. If it is the service that ends it, as it does not know the key any more, what was typed stays. */
function leave(reason = "") {
  list.stop();
  service.stop();
  compose.stop();
  view?.close();
  view = null;
  streams.close();
  caller = null;
  api.forget();
  if (!reason) forget();
  byId("detail").replaceChildren();
  say(byId("who"), "");
  byId("nav").hidden = byId("session").hidden = true;
  say(byId("key-error"), reason);
  show("sign-in");
  byId("key").value = "";
  byId("key").focus();
}

function show(name) {
  for (const id of ["sign-in", "desk", "service"]) byId(id).hidden = id !== name;
}

function mark(name) {
  for (const id of ["responses", "service"]) {
    if (id === name) byId(`nav-${id}`).setAttribute("aria-current", "page");
    else byId(`nav-${id}`).removeAttribute("aria-current");
  }
}

function route() {
  if (!caller) return;
  const [, place, id] = /^#\/(\w*)\/?([\w-]*)/.exec(location.hash) ?? [];
  view?.close();
  view = null;
  const isService = place === "service" && caller.role === "operator";
  mark(isService ? "service" : "responses");
  show(isService ? "service" : "desk");
  if (isService) service.start();
  else service.stop();
  list.select(place === "responses" ? id : null);
  byId("desk").dataset.shows = place === "responses" || place === "new" ? "detail" : "list";
  if (isService) return;
  if (place === "responses" && id) view = new ResponseView(byId("detail"), id, streams, list);
  else compose.show(byId("detail"));
  if (document.activeElement === document.body) byId("detail").querySelector("h2").focus();
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void signIn(byId("key").value.trim());
});
byId("leave").addEventListener("click", () => leave());
addEventListener("hashchange", route);
api.whenUnknown((refused) => caller && leave(failure(refused)));

if (api.keyOf()) void signIn(api.keyOf());
else leave();
