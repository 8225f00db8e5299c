// Start a background response with the openai SDK, and poll until it has ended.
// npm install; BASE, KEY and, if you like, MODEL come from the environment.
import { setTimeout as pause } from "node:timers/promises";
import OpenAI from "openai";

const { BASE: baseURL, KEY: apiKey, MODEL: model = "sim-5s" } = process.env;
const { responses } = new OpenAI({ baseURL, apiKey });

let response = await responses.create({ model, input: "Why do long calls break?", background: true });
while (["queued", "in_progress"].includes(response.status)) {
  await pause(1000);
  response = await responses.retrieve(response.id);
}
if (response.status !== "completed") throw new Error(`${response.status}: ${response.error?.message}`);
console.log(response.status, response.output_text);
