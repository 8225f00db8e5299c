// Start a background response with the openai SDK, and poll until it has ended.
// npm install; BASE, KEY and, if you like, MODEL come from the environment.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import OpenAI, { NotFoundError } from "openai";

const { BASE: baseURL, KEY: apiKey, MODEL: model = "sim-5s" } = process.env;
const { responses } = new OpenAI({ baseURL, apiKey });

// An empty 404 comes from the platform, while it starts. The service's own has an error in its body.
async function patiently(call) {
  for (const seconds of [1, 2, 4, 8, 16]) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof NotFoundError) || error.error) throw error;
      await pause(seconds * 1000);
    }
  }
  return call();
}

const ask = { model, input: "Why do long calls break?", background: true };
const again = { headers: { "Idempotency-Key": randomUUID() } }; // a repeated POST then returns the same response
let response = await patiently(() => responses.create(ask, again));
while (["queued", "in_progress"].includes(response.status)) {
  await pause(1000);
  response = await patiently(() => responses.retrieve(response.id));
}
if (response.status !== "completed") throw new Error(`${response.status}: ${response.error?.message}`);
console.log(response.status, response.output_text);
