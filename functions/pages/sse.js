/**
 * Server-sent events, as this service sends them.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */

const MOST = 40 * 2 ** 20; // characters of one frame. The service sends 32 MiB at most

/** Yield `{data}` for each event, an object, and `{comment}` for each comment. */
export async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new Parser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.take(value);
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Cuts a text that arrives in pieces into frames. */
export class Parser {
  #parts = []; // of the last line, which has not ended
  #size = 0;
  #data = [];

  *take(text) {
    const lines = text.split("\n");
    for (let i = 0; i < lines.length - 1; i += 1) {
      const line = this.#parts.length ? this.#whole(lines[i]) : lines[i];
      const frame = this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (frame) yield frame;
    }
    this.#keep(lines.at(-1));
  }

  #keep(rest) {
    if (!rest) return;
    this.#size += rest.length;
    if (this.#size > MOST) throw new Error("The service sent a frame that is too large.");
    this.#parts.push(rest);
  }

  #whole(end) {
    const line = this.#parts.join("") + end;
    this.#parts = [];
    this.#size = 0;
    return line;
  }

  #line(line) {
    if (line === "") return this.#end();
    if (line.startsWith(":")) return { comment: line.slice(1).trim() };
    if (line.startsWith("data:")) this.#data.push(line.slice(5).replace(/^ /, ""));
    return null;
  }

  #end() {
    if (!this.#data.length) return null;
    const data = JSON.parse(this.#data.join("\n"));
    this.#data = [];
    return { data };
  }
}
