// Two languages, one table: a page's `strings.js` maps a key to [English, Russian].
//
// Write every key whole ("shell.retry"), never glued together: a test reads the modules and refuses a key that
// is missing, unused, or whose two texts name different {values}. In HTML, `data-t` is an element's text,
// `data-t-label` its aria-label, `data-t-title` its title, `data-t-placeholder` its placeholder; `dom.js` sets
// the same from scripts, so that a switch of language translates what is already on the page.

const LANGUAGES = ["en", "ru"];
const ATTRIBUTES = { tLabel: "aria-label", tTitle: "title", tPlaceholder: "placeholder" };
const table = new Map();

export function register(strings) {
  for (const [key, texts] of Object.entries(strings)) table.set(key, texts);
}

export const language = () => document.documentElement.lang;

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);

export const date = (milliseconds) =>
  new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(milliseconds);

/** The text of `key`, its {names} replaced by `values`; numbers are written as the language writes them. */
export function t(key, values = {}) {
  const text = table.get(key)?.[LANGUAGES.indexOf(language())] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? number(value, 2) : value;
  });
}

/** Marks `node` so that its text (or the attribute that `slot` stands for) is `key`, now and after a switch. */
export function mark(node, slot, key, values) {
  node.dataset[slot] = key;
  if (values) node.dataset[`${slot}Values`] = JSON.stringify(values);
  else delete node.dataset[`${slot}Values`];
  apply(node, slot);
}

export function translate(root) {
  for (const slot of ["t", ...Object.keys(ATTRIBUTES)]) {
    const attribute = `data-${slot.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    for (const node of root.querySelectorAll(`[${attribute}]`)) apply(node, slot);
  }
}

/** Dispatches `tolmach:language` on the document for what cannot be marked (dates, plots from the server). */
export function setLanguage(name) {
  document.documentElement.lang = name;
  localStorage.setItem("tolmach.language", name);
  translate(document);
  document.dispatchEvent(new CustomEvent("tolmach:language"));
}

function apply(node, slot) {
  const values = node.dataset[`${slot}Values`];
  const text = t(node.dataset[slot], values ? JSON.parse(values) : {});
  if (slot === "t") node.textContent = text;
  else node.setAttribute(ATTRIBUTES[slot], text);
}
