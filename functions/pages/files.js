/** Files that are sent with a request. https://developers.openai.com/api/docs/guides/pdf-files */

// A request has 2,621,440 bytes at most when it is compressed. That takes away most of what base64 adds.
// A text of 100 kB fits beside the files.
export const MOST_BYTES = 2_400_000;
const LOOKED_AT = 4_096;

/** Return a number of bytes in words. */
export function size(bytes) {
  if (bytes < 1_000) return `${bytes} bytes`;
  return bytes < 1_000_000 ? `${Math.round(bytes / 1_000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** Return whether a file is a text: its beginning is UTF-8 without a zero. */
export async function isText(file) {
  const bytes = await file.slice(0, LOOKED_AT).arrayBuffer();
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return !text.includes("\0");
  } catch {
    return false;
  }
}

/** Return a file that is no text as a part of a request's input. */
export async function attachment(file) {
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
