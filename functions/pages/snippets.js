/** A request as a command for curl and as a program for Python. The key is not in it, but the name of a variable. */

import * as api from "./api.js";

const PREFIX = "console.request.";
const KEPT = 50_000; // characters of a request that is remembered

/** Remember what was sent for a response. A long request is asked for again when it is copied. */
export function remember(id, body) {
  const text = JSON.stringify(body);
  try {
    if (text.length <= KEPT) sessionStorage.setItem(PREFIX + id, text);
  } catch {
    return; // the tab's store is full
  }
}

/** Return the request of a response: as it was sent from this tab, or as the service can tell it. */
export async function requestOf(response) {
  const kept = sessionStorage.getItem(PREFIX + response.id);
  if (kept) return JSON.parse(kept);
  const { data } = await api.get(`responses/${response.id}/input_items?limit=100&order=asc`);
  const input = data.map(({ id, status, ...item }) => item);
  const only = input.length === 1 ? input[0].content : null;
  const isText = only?.length === 1 && only[0].type === "input_text";
  return {
    model: response.model,
    input: isText ? only[0].text : input,
    ...(response.instructions ? { instructions: response.instructions } : {}),
    ...(response.tools?.length ? { tools: response.tools } : {}),
    background: true,
  };
}

/** Return a request as a command. */
export function curl(body) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return [
    `curl -sN ${api.baseUrl}/responses \\`,
    `  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\`,
    `  -d '${json}'`,
  ].join("\n");
}

/** Return a request as a program that prints the answer. */
export function python(body) {
  const { callback_url: callback, ...known } = body;
  const fields = Object.entries(known).map(([name, value]) => `    ${name}=${literal(value, 4)},`);
  if (callback) fields.push(`    extra_body={"callback_url": ${literal(callback)}},`);
  const head = [
    "import os",
    ...(body.stream || !body.background ? [] : ["import time"]),
    "",
    "from openai import OpenAI  # pip install openai",
    "",
    `client = OpenAI(base_url=${literal(api.baseUrl)}, api_key=os.environ["KEY"])`,
  ];
  const name = body.stream ? "stream" : "response";
  return [...head, `${name} = client.responses.create(`, ...fields, ")", ...ending(body), ""].join("\n");
}

function ending(body) {
  if (body.stream) {
    return [
      "for event in stream:",
      '    if event.type == "response.output_text.delta":',
      '        print(event.delta, end="", flush=True)',
    ];
  }
  const poll = [
    'while response.status in ("queued", "in_progress"):',
    "    time.sleep(1)",
    "    response = client.responses.retrieve(response.id)",
  ];
  return [...(body.background ? poll : []), "print(response.status, response.output_text)"];
}

/** Return a JSON value as Python writes it. */
export function literal(value, indent = 0) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value))
    return block(
      "[",
      "]",
      value.map((one) => literal(one, indent + 4)),
      indent,
    );
  if (typeof value === "object") {
    const pairs = Object.entries(value).map(([name, one]) => `${literal(name)}: ${literal(one, indent + 4)}`);
    return block("{", "}", pairs, indent);
  }
  return JSON.stringify(value); // Python reads JSON's texts and numbers as they are
}

function block(open, close, parts, indent) {
  if (!parts.length) return open + close;
  const pad = " ".repeat(indent + 4);
  return `${open}\n${parts.map((part) => `${pad}${part},`).join("\n")}\n${" ".repeat(indent)}${close}`;
}
