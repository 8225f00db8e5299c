// LangChain's ChatOpenAI for JavaScript.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as functionTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

import { PLACE, PROMPT, drive, getWeather } from "../../clients/drivers/driving.mjs";

const weather = functionTool(getWeather, {
  name: "get_weather",
  description: "Return the weather of a place.",
  schema: z.object({ place: z.string() }),
});

const REPEATS = 2; // its default is 6, with long pauses

function chat({ url, key, model, timeout }, fields = {}) {
  const given = { model, apiKey: key, timeout, maxRetries: REPEATS, useResponsesApi: true };
  return new ChatOpenAI({ ...given, configuration: { baseURL: url }, ...fields });
}

const shown = ({ text, response_metadata }) => ({ text, status: response_metadata.status ?? null });

const answer = async (call, fields) => shown(await chat(call, fields).invoke(PROMPT));

const queued = (call) => answer(call, { modelKwargs: { background: true } });

async function stream(call) {
  let status = null;
  for await (const chunk of await chat(call).stream(PROMPT)) {
    call.heard.push(chunk.text);
    status = chunk.response_metadata.status ?? status;
  }
  return { text: call.heard.join(""), status };
}

async function tool(call) {
  const bound = chat(call).bindTools([weather]);
  const question = new HumanMessage(PLACE);
  const asking = await bound.invoke([question]);
  const [asked] = asking.tool_calls;
  const output = new ToolMessage({ content: getWeather(asked.args), tool_call_id: asked.id });
  return shown(await bound.invoke([question, asking, output]));
}

await drive(import.meta.url, "@langchain/openai", { answer, stream, tool, queued });
