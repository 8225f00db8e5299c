#!/usr/bin/env bash
# LangChain's ChatOpenAI for JavaScript ends a stream that failed as an empty answer, without an error.
#
# Seen with:  @langchain/openai 1.6.0, @langchain/core 1.4.0, openai 7.57.0, Node.js 20, on 2026-11-30.
# Expected:   an exception with the message of the error, as invoke() throws for a failed response, and as the same
#             class for Python raises in both cases. OpenAI's reference: response.failed is "emitted when a response
#             fails", and its response has the error.
# Seen:       stream() yields what was said before and then ends. No exception, and no chunk has a status, so nothing
#             tells half an answer from a whole one. A stream that ends with response.incomplete has its status.
# Matters to: programs that store or show what they have streamed.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @langchain/openai@1.6.0 @langchain/core@1.4.0 openai@7.57.0

cat > seen.mjs <<'JAVASCRIPT'
import { createServer } from "node:http";
import { ChatOpenAI } from "@langchain/openai";

const ERROR = { code: "server_error", message: "The model broke." };

function response(status, error = null) {
  return {
    id: "resp_1", object: "response", created_at: 1, model: "a-model", status, error, instructions: null, metadata: {},
    incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null, output: [],
    parallel_tool_calls: true, tool_choice: "auto", tools: [], usage: null,
  };
}

// A stream that begins an answer of two words, says one of them, and ends in this way.
function streamOf(status) {
  const place = { item_id: "msg_1", output_index: 0, content_index: 0 };
  const item = { id: "msg_1", type: "message", role: "assistant", status: "in_progress", content: [] };
  const part = { type: "output_text", text: "", annotations: [] };
  const events = [
    { type: "response.created", response: response("in_progress") },
    { type: "response.output_item.added", output_index: 0, item },
    { type: "response.content_part.added", ...place, part },
    { type: "response.output_text.delta", ...place, delta: "Half ", logprobs: [] },
    { type: `response.${status}`, response: response(status, status === "failed" ? ERROR : null) },
  ];
  const numbered = events.map((event, sequence_number) => ({ ...event, sequence_number }));
  return numbered.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("");
}

const server = createServer(async (request, answer) => {
  let body = "";
  for await (const piece of request) body += piece;
  const { model, stream } = JSON.parse(body);
  answer.writeHead(200, { "content-type": stream ? "text/event-stream" : "application/json" });
  answer.end(stream ? streamOf(model) : JSON.stringify(response(model, model === "failed" ? ERROR : null)));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

// What a program sees: the text, the last status, and what is thrown.
async function seen(model, ask) {
  const configuration = { baseURL: `http://127.0.0.1:${server.address().port}/v1` };
  const chat = new ChatOpenAI({ model, apiKey: "unused", maxRetries: 0, useResponsesApi: true, configuration });
  let text = "";
  let status = null;
  try {
    for await (const chunk of await ask(chat)) {
      text += chunk.text;
      status = chunk.response_metadata.status ?? status;
    }
  } catch (error) {
    return `thrown: ${error.message}`;
  }
  return `${JSON.stringify(text)}, status ${status}`;
}

const invoked = async (chat) => [await chat.invoke("Two words, please.")];
const streamed = (chat) => chat.stream("Two words, please.");
const found = {
  "invoke, failed": await seen("failed", invoked),
  "stream, incomplete": await seen("incomplete", streamed),
  "stream, failed": await seen("failed", streamed),
};
server.close();
server.closeAllConnections();
for (const [what, shown] of Object.entries(found)) console.log(`${what}: ${shown}`);
const described = {
  "invoke, failed": "thrown: The model broke.",
  "stream, incomplete": '"Half ", status incomplete',
  "stream, failed": '"Half ", status null',
};
if (JSON.stringify(found) !== JSON.stringify(described)) {
  console.error("CHANGED");
  process.exit(1);
}
console.log("as described");
JAVASCRIPT
timeout 120 node seen.mjs
