// Stream a background response with the openai SDK, and resume after the last event when the connection breaks.
// npm install; BASE, KEY and, if you like, MODEL come from the environment.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import OpenAI, { APIConnectionError, APIError, NotFoundError } from "openai";

const { BASE: baseURL, KEY: apiKey, MODEL: model = "sim-5s" } = process.env;
const { responses } = new OpenAI({ baseURL, apiKey });

const ENDS = ["response.completed", "response.failed", "response.incomplete"];
const ask = { model, input: "Why do long calls break?", background: true, stream: true };
const again = { headers: { "Idempotency-Key": randomUUID() } }; // to repeat the POST is then to get the same stream

let text = "";
let id;
let last;
while (!ENDS.includes(last?.type)) {
  try {
    const after = last && { stream: true, starting_after: last.sequence_number };
    for await (const event of await (last ? responses.retrieve(id, after) : responses.create(ask, again))) {
      last = event;
      if (event.type === "response.created") id = event.response.id;
      // A second one: what follows replaces what came before.
      else if (event.type === "response.in_progress") text = "";
      else if (event.type === "response.output_text.delta") text += event.delta;
    }
  } catch (error) {
    // A stream that breaks is an error of the runtime, not of the SDK. An empty 404 comes from the platform, while it
    // starts. The service's own has an error in its body.
    const isStarting = error instanceof NotFoundError && !error.error;
    if (error instanceof APIError && !(error instanceof APIConnectionError) && !isStarting) throw error;
    await pause(1000);
  }
}
if (last.response.status !== "completed") throw new Error(`${last.response.status}: ${last.response.error?.message}`);
console.log(last.response.status, text);
