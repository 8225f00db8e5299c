/** A request as a command for curl and as a program for Python. The key is not in it, but the name of a variable. */

import * as api from "./api.js";

// Fields that OpenAI's SDK has no name for.
const UNNAMED = new Set(["callback_url", "presence_penalty", "frequency_penalty"]);

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
  const of = (isUnnamed) => Object.entries(body).filter(([name]) => UNNAMED.has(name) === isUnnamed);
  const fields = of(false).map(([name, value]) => `    ${name}=${literal(value, 4)},`);
  const others = of(true).map(([name, value]) => `${literal(name)}: ${literal(value)}`);
  if (others.length) fields.push(`    extra_body={${others.join(", ")}},`);
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
