/** Elements without markup: every text becomes a text node, so nothing that a model wrote can become an element. */

const SVG = "http://www.w3.org/2000/svg";

/** Return an element. An attribute that is a function listens, `false` and `null` are left out, `true` is empty. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Return an element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return the element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** Put a text into an element, unless it is there. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tell people who do not see the page. */
export function announce(text) {
  say(byId("announced"), text);
}

/** Show a short note at the edge of the page, and announce it. */
export function toast(text) {
  const note = h("div", { class: "toast" }, text);
  byId("toasts").append(note);
  announce(text);
  setTimeout(() => note.remove(), 4000);
}

/** Copy a text, and say so. Where the browser gives no clipboard, the text is shown selected. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    offer(text, what);
  }
}

function offer(text, what) {
  const area = h("textarea", { readonly: true, rows: 8, "aria-label": what });
  area.value = text;
  const dialog = h(
    "dialog",
    { "aria-label": what, close: () => dialog.remove() },
    h("p", {}, `${what}: copy it with your keyboard.`),
    area,
    h("form", { method: "dialog" }, h("button", { class: "button" }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
  area.select();
}

/** Return a button. */
export function button(text, act, attributes = {}) {
  return h("button", { type: "button", class: "button", click: act, ...attributes }, text);
}

/** Return a button that asks once more before it acts. */
export function careful(text, question, act) {
  let until = 0;
  const one = button(text, async () => {
    if (Date.now() > until) return ask();
    reset();
    await act();
  });
  const reset = () => {
    until = 0;
    one.classList.remove("danger");
    say(one, text);
  };
  const ask = () => {
    until = Date.now() + 5000;
    one.classList.add("danger");
    say(one, question);
    setTimeout(() => Date.now() >= until && reset(), 5050);
  };
  return one;
}
