/** The request of a response: as it was sent from this tab, or as the service can tell it. */

import * as api from "./api.js";

const PREFIX = "console.request.";
const KEPT = 50_000; // characters of a request that is remembered
const ITEMS = 100; // of one page

// Fields that the response object repeats, and what each has where the request does not name it. A null is never sent.
const REPEATED = {
  instructions: null,
  previous_response_id: null,
  conversation: null,
  prompt: null,
  tools: [],
  tool_choice: "auto",
  parallel_tool_calls: true,
  max_tool_calls: null,
  max_output_tokens: null,
  temperature: 1,
  top_p: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  top_logprobs: 0,
  truncation: "disabled",
  prompt_cache_key: null,
  safety_identifier: null,
  service_tier: "auto",
  text: {},
  reasoning: {},
  metadata: {},
  store: true,
};
const NAMELESS = new Set(["message", "function_call", "function_call_output"]); // items that need no id

/** Remember what was sent for a response. A long request is asked for again when it is copied. */
export function remember(id, body) {
  const text = JSON.stringify(body);
  try {
    if (text.length <= KEPT) sessionStorage.setItem(PREFIX + id, text);
  } catch {
    return; // the tab's store is full
  }
}

/** Return the request of a response. Raises what asking for its input raises. */
export async function requestOf(response) {
  const kept = sessionStorage.getItem(PREFIX + response.id);
  if (kept) return JSON.parse(kept);
  const { model, background } = response;
  const input = await inputOf(response.id);
  return { model, ...(input.length ? { input } : {}), ...repeated(response), background };
}

/** Return the input of a response: a text if it is one text of the user, and items otherwise. */
async function inputOf(id) {
  const items = [];
  for (let after = ""; ; ) {
    const page = await api.get(`responses/${id}/input_items?limit=${ITEMS}&order=asc${after}`);
    items.push(...page.data);
    if (!page.has_more) break;
    after = `&after=${encodeURIComponent(page.last_id)}`;
  }
  return onlyText(items) ?? items.map(asSent);
}

function onlyText([item, ...others]) {
  if (others.length || item?.role !== "user" || item.content?.length !== 1) return null;
  const [part] = item.content;
  return part.type === "input_text" ? part.text : null;
}

function asSent({ id, status, ...item }) {
  return NAMELESS.has(item.type) ? item : { id, ...item };
}

function repeated(response) {
  const found = {};
  for (const [name, usual] of Object.entries(REPEATED)) {
    const value = asked(name, response[name]);
    if (value !== null && value !== undefined && !isSame(value, usual)) found[name] = value;
  }
  return found;
}

const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Return a field without what the service or its upstream fills in for a request that does not name it. */
function asked(name, value) {
  if (name === "service_tier" && value === "default") return null; // the tier that was used
  if (name === "tools") return value?.map(given);
  if (name === "reasoning") return given(value);
  return name === "text" ? format(value) : value;
}

function format(text) {
  const { format: one, verbosity, ...others } = given(text);
  return {
    ...(one && one.type !== "text" ? { format: schema(given(one)) } : {}),
    ...(verbosity && verbosity !== "medium" ? { verbosity } : {}),
    ...others,
  };
}

const schema = ({ strict, ...others }) => (strict ? { strict, ...others } : others);

/** Return the members of an object that are not null. */
const given = (value) => Object.fromEntries(Object.entries(value ?? {}).filter(([, one]) => one !== null));
