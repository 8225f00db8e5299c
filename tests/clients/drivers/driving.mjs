// What the drivers for Node.js share: driving.py for JavaScript.
//
//     node NAME.mjs CASE=http://KEY@HOST:PORT/v1 ...
import { readFileSync } from "node:fs";

// No other run sends these bytes. A repeat of equal bytes may get the answer to an earlier call.
export const PROMPT = `Whales sing ${process.hrtime.bigint()}.`;
export const PLACE = "Oslo";
const CASES = JSON.parse(readFileSync(new URL("cases.json", import.meta.url), "utf-8"));

export const getWeather = ({ place }) => `It snows in ${place}.`;

// Run the cases that the command line names, all at the same time, and print the report. `driver` is the URL of the
// driver, whose packages are in the folder above. Each way gets a call: its URL, the key, the model, and the client's own
// time-out in ms or undefined. A stream adds its text to `heard`.
export async function drive(driver, client, ways) {
  const { version } = JSON.parse(readFileSync(new URL(`../node_modules/${client}/package.json`, driver), "utf-8"));
  const shown = await Promise.all(process.argv.slice(2).map((wanted) => run(ways, wanted)));
  process.stdout.write(JSON.stringify({ version, shown }), () => process.exit(0));
}

async function run(ways, wanted) {
  const at = wanted.indexOf("=");
  const { way, model, timeout_s } = CASES[wanted.slice(0, at)];
  const { origin, pathname, username } = new URL(wanted.slice(at + 1));
  const timeout = timeout_s && timeout_s * 1000;
  const call = { url: origin + pathname, key: username, model, timeout, heard: [] };
  try {
    return { status: null, error: null, ...(await ways[way](call)) };
  } catch (error) {
    return { text: call.heard.join(""), status: null, error: `${error.name}: ${error.message}` };
  }
}
