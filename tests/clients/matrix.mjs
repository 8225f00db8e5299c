// What the openai Node SDK makes of our streams, as one JSON object on standard output: what matrix.py is for Python.
//
//     node matrix.mjs BASE_URL KEY MODEL
import OpenAI from "openai";
import { VERSION } from "openai/version";

const INPUT = "Wale singen im Chor. Bienen tanzen \u{1f41d} naïv.";
// U+2028 ends a line in some languages; in a stream it does not.
const METADATA = { note: "one\u2028line" };
const FAILING_MODEL = "sim-fail-1s";
const LONG_MODEL = "sim-10s";
const LEFT_AFTER = 4;

const [baseURL, apiKey, model] = process.argv.slice(2);
const { responses } = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });

async function report() {
  const request = { model, input: INPUT, metadata: METADATA };
  const created = await section(() => responses.create({ ...request, stream: true, background: true }));
  const events = created.events;
  if (events.length === 0) throw new Error(`created: no events, ${created.error}`);
  const known = events[0].response.id;
  const failing = { model: FAILING_MODEL, input: INPUT, background: true };
  return {
    sdk: VERSION,
    created,
    stored: await responses.retrieve(known),
    foreground: await section(() => responses.create({ ...request, stream: true })),
    replayed: await section(() => responses.retrieve(known, { stream: true })),
    after: await each(numbers(events), (n) => section(() => resumed(known, n))),
    by_header: await each(tokens(events), (token) => section(() => resumedByHeader(known, token))),
    by_token: await each(tokens(events), (token) => section(() => responses.retrieve(token, { stream: true }))),
    continued: await section(() => continued(request)),
    helper_created: await helper({ ...request, background: true }),
    helper: await helper({ response_id: known }),
    helper_after: await each(everyTenth(numbers(events)), (n) => helper({ response_id: known, starting_after: n })),
    failed: await section(() => responses.create({ ...failing, stream: true })),
    helper_failed: await helper(failing),
    cancelled: await section(cancelled),
  };
}

// Read a stream to its end, or to what the SDK throws.
async function section(start) {
  const events = [];
  try {
    for await (const event of await start()) events.push(event);
  } catch (error) {
    return { events, error: String(error) };
  }
  return { events, error: null };
}

// Read a stream by the SDK's own accumulator: numbers and types of its events, and the text of its response.
async function helper(given) {
  const events = [];
  try {
    const stream = responses.stream(given);
    for await (const { sequence_number, type } of stream) events.push({ sequence_number, type });
    return { events, error: null, text: (await stream.finalResponse()).output_text };
  } catch (error) {
    return { events, error: String(error), text: null };
  }
}

async function each(values, run) {
  const results = [];
  for (const value of values) results.push(await run(value));
  return results;
}

const numbers = (events) => events.map((event) => event.sequence_number);

const everyTenth = (values) => values.filter((_, index) => index % 10 === 0);

// The tokens of every tenth event but the last, whose token is null.
const tokens = (events) =>
  everyTenth(events.slice(0, -1))
    .map((event) => event.continuation_token)
    .filter(Boolean);

const resumed = (known, after) => responses.retrieve(known, { stream: true, starting_after: after });

// The header with which a browser resumes.
const resumedByHeader = (known, token) =>
  responses.retrieve(known, { stream: true }, { headers: { "Last-Event-ID": token } });

// Leave a stream while it runs, and go on where it was left.
async function* continued(request) {
  const first = [];
  for await (const event of await responses.create({ ...request, stream: true, background: true })) {
    first.push(event);
    if (first.length === LEFT_AFTER) break;
  }
  yield* first;
  yield* await resumed(first[0].response.id, first.at(-1).sequence_number);
}

// Cancel a response once its text flows, and read its stream to the end.
async function* cancelled() {
  let known;
  let called = false;
  const request = { model: LONG_MODEL, input: INPUT, background: true };
  for await (const event of await responses.create({ ...request, stream: true })) {
    yield event;
    known ??= event.response.id;
    if (event.type === "response.output_text.delta" && !called) {
      called = true;
      await responses.cancel(known);
    }
  }
}

process.stdout.write(JSON.stringify(await report()));
