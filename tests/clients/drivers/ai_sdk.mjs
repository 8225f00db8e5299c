// The AI SDK with its OpenAI provider. Its state of an answer is the reason why it finished.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, streamText, tool as functionTool } from "ai";
import { Agent, fetch } from "undici";
import { z } from "zod";

import { PLACE, PROMPT, drive, getWeather } from "./driving.mjs";

const MOST_STEPS = 5;

const weather = functionTool({
  description: "Return the weather of a place.",
  inputSchema: z.object({ place: z.string() }),
  execute: getWeather,
});

// The SDK's own time-outs end a call for good. What it repeats is a call whose connection times out.
function model({ url, key, model: name, timeout }, change = (body) => body) {
  const dispatcher = timeout && new Agent({ headersTimeout: timeout, bodyTimeout: timeout });
  const send = (to, { body, ...init }) => fetch(to, { ...init, body: change(body), dispatcher });
  return createOpenAI({ baseURL: url, apiKey: key, fetch: send }).responses(name);
}

async function generated(given) {
  const { text, finishReason } = await generateText(given);
  return { text, status: finishReason };
}

const answer = (call) => generated({ model: model(call), prompt: PROMPT });

// It has no setting for background work, so the request is changed on its way.
const inBackground = (body) => JSON.stringify({ ...JSON.parse(body), background: true });

const queued = (call) => generated({ model: model(call, inBackground), prompt: PROMPT });

async function stream(call) {
  const result = streamText({ model: model(call), prompt: PROMPT, onError() {} });
  for await (const text of result.textStream) call.heard.push(text);
  return { text: await result.text, status: await result.finishReason };
}

const tool = (call) =>
  generated({ model: model(call), prompt: PLACE, tools: { get_weather: weather }, stopWhen: isStepCount(MOST_STEPS) });

await drive(import.meta.url, "ai", { answer, stream, tool, queued });
