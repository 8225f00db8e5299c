// The openai SDK for Node.js.
import OpenAI from "openai";

import { PLACE, PROMPT, drive, getWeather } from "./driving.mjs";

const parameters = { type: "object", properties: { place: { type: "string" } }, required: ["place"] };
const tools = [{ type: "function", name: "get_weather", description: "Return the weather.", parameters }];

const sdk = ({ url, key, timeout }) => new OpenAI({ baseURL: url, apiKey: key, timeout }).responses;

async function answer(call, fields = {}) {
  const response = await sdk(call).create({ model: call.model, input: PROMPT, ...fields });
  return { text: response.output_text, status: response.status };
}

const queued = (call) => answer(call, { background: true });

// The state is that of the last event's response.
async function stream(call) {
  let status = null;
  for await (const event of await sdk(call).create({ model: call.model, input: PROMPT, stream: true })) {
    if (event.type === "response.output_text.delta") call.heard.push(event.delta);
    status = event.response?.status ?? status;
  }
  return { text: call.heard.join(""), status };
}

async function tool(call) {
  const asking = await sdk(call).create({ model: call.model, input: PLACE, tools });
  const { call_id, arguments: given } = asking.output.find((item) => item.type === "function_call");
  const output = { type: "function_call_output", call_id, output: getWeather(JSON.parse(given)) };
  return answer(call, { input: [output], tools, previous_response_id: asking.id });
}

await drive(import.meta.url, "openai", { answer, stream, tool, queued });
