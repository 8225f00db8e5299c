/** Files that are sent with a request. https://developers.openai.com/api/docs/guides/pdf-files */

// A request has 2,621,440 bytes at most when it is compressed. That takes away most of what base64 adds.
// A text of 100 kB fits beside the files.
export const MOST_BYTES = 2_400_000;

/** Return a number of bytes in words. */
export function size(bytes) {
  if (bytes < 1_000) return `${bytes} bytes`;
  return bytes < 1_000_000 ? `${Math.round(bytes / 1_000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/**
 * Read a file of at most `most` bytes. Return its `text`, or what is `attached` to a request if it is no text, or in
 * words what is `wrong` with it.
 */
export async function read(file, most) {
  if (file.size > most) return { wrong: `${file.name} has ${size(file.size)}, and ${size(MOST_BYTES)} fit in all.` };
  try {
    const text = textIn(await file.arrayBuffer());
    return text === null ? { attached: await attachment(file) } : { text };
  } catch {
    return { wrong: `${file.name} cannot be read.` }; // a folder, or a file that has gone or changed
  }
}

/** Return the text of bytes, or null if they are none: a text is UTF-8 without a zero, to its last byte. */
function textIn(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

/** Return a file that is no text as a part of a request's input. */
async function attachment(file) {
  const url = await dataUrl(file);
  const part = file.type.startsWith("image/")
    ? { type: "input_image", image_url: url, detail: "auto" }
    : { type: "input_file", filename: file.name, file_data: url };
  return { name: file.name, bytes: file.size, part };
}

function dataUrl(file) {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", () => fail(reader.error));
    reader.readAsDataURL(file);
  });
}
