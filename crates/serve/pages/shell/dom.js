// Elements from scripts. Text goes in as text; HTML goes in at one place only, `insertRendered`, and a test
// refuses any other.

import { mark } from "./i18n.js";

const SLOTS = ["t", "tLabel", "tTitle", "tPlaceholder"];

/**
 * An element: el("button", { class: "button", t: "shell.retry", onclick: again }, child, "text").
 *
 * `t`, `tLabel`, `tTitle`, `tPlaceholder` take a key of i18n.js or [key, values]; `data` a map of data
 * attributes; `on…` a listener; true sets a bare attribute; null, undefined and false leave it out.
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (SLOTS.includes(name)) mark(node, name, ...[value].flat());
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Gives `blob` to the reader as a file called `name`. */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers begin to read it later
}

const SVG = "http://www.w3.org/2000/svg";

/** A line icon of 20 × 20 px by its path; decoration only, the button around it has the label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "glyph");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const ICONS = {
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  menu: "M3 5h14M3 10h14M3 15h14",
  settings: "M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4",
  copy: "M7 7h9v9H7zM4 13V4h9",
  again: "M16 10a6 6 0 1 1-2-4.500M16 3v4h-4",
  edit: "M4 16l1-4 8-8 3 3-8 8z",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M10 4v12M5 11l5 5 5-5",
  plus: "M10 4v12M4 10h12",
  close: "M5 5l10 10M15 5L5 15",
  remove: "M4 6h12M8 6V4h4v2M6 6l1 10h6l1-10",
  auto: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  light:
    "M10 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6M10 2v2M10 16v2M2 10h2M16 10h2M4.300 4.300l1.400 1.400M14.300 14.300l1.400 1.400M4.300 15.700l1.400-1.400M14.300 5.700l1.400-1.400",
  dark: "M16 12A7 7 0 0 1 8 4a6.500 6.500 0 1 0 8 8z",
};

/** A button that shows an icon only; `key` is its label and its tooltip. */
export function iconButton(name, key, onclick, props = {}) {
  const button = el("button", {
    type: "button",
    class: "button quiet icon",
    tLabel: key,
    tTitle: key,
    onclick,
    ...props,
  });
  button.append(icon(name));
  return button;
}

/**
 * Shows HTML that the server has rendered and sanitised (`/ui/markdown`, SVG plots): nothing else may come here.
 *
 * Top-level blocks that did not change stay the same elements, so a stream does not flicker and a selection
 * in an earlier paragraph survives.
 */
export function insertRendered(node, html, decorate = () => {}) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const blocks = [...fresh.content.childNodes];
  const known = node.renderedBlocks ?? [];
  let same = 0;
  while (same < known.length && same < blocks.length && known[same] === source(blocks[same])) same += 1;
  while (node.childNodes.length > same) node.lastChild.remove();
  node.renderedBlocks = blocks.map(source);
  for (const block of blocks.slice(same)) {
    node.append(block);
    if (block instanceof Element) decorate(block);
  }
}

const source = (block) => (block instanceof Element ? block.outerHTML : block.textContent);
