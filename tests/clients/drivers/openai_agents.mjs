// The OpenAI Agents SDK for JavaScript. It shows no state of a response.
import { Agent, OpenAIResponsesModel, run, setTracingDisabled, tool as functionTool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";

import { PLACE, PROMPT, drive, getWeather } from "./driving.mjs";

setTracingDisabled(true); // traces would be sent to OpenAI

const weather = functionTool({
  name: "get_weather",
  description: "Return the weather of a place.",
  parameters: z.object({ place: z.string() }),
  execute: getWeather,
});

function agent({ url, key, model, timeout }, fields = {}) {
  const sdk = new OpenAI({ baseURL: url, apiKey: key, timeout });
  return new Agent({ name: "tester", model: new OpenAIResponsesModel(sdk, model), ...fields });
}

const answer = async (call, fields) => ({ text: (await run(agent(call, fields), PROMPT)).finalOutput });

const queued = (call) => answer(call, { modelSettings: { providerData: { background: true } } });

async function stream(call) {
  const result = await run(agent(call), PROMPT, { stream: true });
  for await (const text of result.toTextStream()) call.heard.push(text);
  await result.completed;
  return { text: result.finalOutput };
}

const tool = async (call) => ({ text: (await run(agent(call, { tools: [weather] }), PLACE)).finalOutput });

await drive(import.meta.url, "@openai/agents", { answer, stream, tool, queued });
