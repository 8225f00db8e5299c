#!/usr/bin/env bash
# The OpenAI Agents SDK for JavaScript takes an unfinished response for a turn without an answer, and asks ten times.
#
# Seen with:  @openai/agents 0.20.0, openai 7.57.0, Node.js 20, on 2026-11-30.
# Expected:   it polls the response, or throws once. A create with background: true is answered at once by a response
#             whose status is queued and whose output is empty (OpenAI's guide "Background mode").
# Seen:       run() sends the same input to POST /responses again, up to its limit of turns, which is ten by default.
#             Each is a new background response. Then it throws MaxTurnsExceededError. It polls none of them.
# Matters to: who sets background by providerData, and whoever stands behind a server that answers long work unfinished.
#             The same paid work is started ten times, and nobody gets an answer.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @openai/agents@0.20.0 openai@7.57.0 zod@4.6.7

cat > seen.mjs <<'JAVASCRIPT'
import { createServer } from "node:http";
import { Agent, OpenAIResponsesModel, run, setTracingDisabled } from "@openai/agents";
import OpenAI from "openai";

setTracingDisabled(true);
const calls = [];
const server = createServer(async (request, answer) => {
  let body = "";
  for await (const piece of request) body += piece;
  calls.push(`${request.method} ${request.url} background=${body ? JSON.parse(body).background : "-"}`);
  const response = {
    id: `resp_${calls.length}`, object: "response", created_at: 1, model: "a-model", background: true, status: "queued",
    error: null, incomplete_details: null, instructions: null, metadata: {}, output: [], parallel_tool_calls: true,
    tool_choice: "auto", tools: [], usage: null,
  };
  answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(response));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const sdk = new OpenAI({ baseURL: `http://127.0.0.1:${server.address().port}/v1`, apiKey: "unused", maxRetries: 0 });
const modelSettings = { providerData: { background: true } };
const agent = new Agent({ name: "one", model: new OpenAIResponsesModel(sdk, "a-model"), modelSettings });
let thrown = null;
try {
  await run(agent, "Two words, please.");
} catch (error) {
  thrown = error.constructor.name;
}
server.close();
server.closeAllConnections();
for (const call of calls) console.log(call);
console.log(`thrown: ${thrown}`);
const described = Array(10).fill("POST /v1/responses background=true");
if (JSON.stringify(calls) !== JSON.stringify(described) || thrown !== "MaxTurnsExceededError") {
  console.error("CHANGED");
  process.exit(1);
}
console.log("as described");
JAVASCRIPT
timeout 120 node seen.mjs
