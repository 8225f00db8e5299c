// Receive callbacks: verify each, answer at once, and take none twice.
// npm install; SECRET (whsec_...) and, if you like, PORT come from the environment.
import { createServer } from "node:http";
import OpenAI from "openai";

const { SECRET: webhookSecret, PORT = "0" } = process.env;
const { webhooks } = new OpenAI({ apiKey: "not needed to verify", webhookSecret });
const seen = new Set(); // in a database, if you have more than one process

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

const server = createServer(async (request, response) => {
  let event;
  try {
    event = await webhooks.unwrap(await bodyOf(request), request.headers); // of the raw body
  } catch (error) {
    console.log("refused:", error.message);
    response.writeHead(400).end();
    return;
  }
  response.writeHead(204).end();
  const webhookId = request.headers["webhook-id"];
  if (seen.has(webhookId)) return; // a repeat has the same id
  seen.add(webhookId);
  console.log(event.type, JSON.stringify(event.data.id));
});

server.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
