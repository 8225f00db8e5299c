/** Small charts, drawn as SVG. Each says in words what it shows. */

import { h, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 64;
const PAD = 2;

/** Return a chart of bars, one for each value. Above the first values stand the second ones, such as failures. */
export function bars(title, values, others, words) {
  const peak = Math.max(0, ...values.map((value, i) => value + (others[i] ?? 0)));
  const most = Math.max(1, peak);
  const width = WIDTH / values.length;
  const bar = (value, below, i, name) =>
    value > 0 &&
    svg("rect", {
      class: name,
      x: (i * width + 0.5).toFixed(2),
      width: Math.max(1, width - 1).toFixed(2),
      y: (HEIGHT - ((value + below) / most) * (HEIGHT - PAD)).toFixed(2),
      height: ((value / most) * (HEIGHT - PAD)).toFixed(2),
      rx: 1,
    });
  const drawn = values.flatMap((value, i) => [bar(value, 0, i, "bar-good"), bar(others[i] ?? 0, value, i, "bar-bad")]);
  return chart(title, words, String(peak), drawn.filter(Boolean));
}

/** Return a chart of a line through points of `{at, value}`, over so many seconds. `since` says when it begins. */
export function line(title, points, spanS, since) {
  const peak = Math.max(0, ...points.map((point) => point.value));
  const most = Math.max(1, peak);
  const end = points.at(-1)?.at ?? 0;
  const x = (at) => WIDTH - PAD - ((end - at) / spanS) * (WIDTH - 2 * PAD);
  const y = (value) => HEIGHT - PAD - (value / most) * (HEIGHT - 3 * PAD);
  const path = points
    .map((point, i) => `${i ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}`)
    .join("");
  const area =
    points.length > 1 ? `${path}L${x(end).toFixed(1)} ${HEIGHT}L${x(points[0].at).toFixed(1)} ${HEIGHT}Z` : "";
  const words = `${points.at(-1)?.value ?? 0} now, ${peak} at most, ${since}`;
  return chart(title, words, String(peak), [
    svg("path", { class: "area", d: area }),
    svg("path", { class: "stroke", d: path }),
  ]);
}

function chart(title, words, most, drawn) {
  const base = svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT + 1}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${title}: ${words}`,
    },
    base,
    ...drawn,
  );
  return h(
    "figure",
    { class: "chart card" },
    h("figcaption", {}, h("span", {}, title), h("span", { class: "hint" }, `most: ${most}`)),
    picture,
    h("p", { class: "hint" }, words),
  );
}
