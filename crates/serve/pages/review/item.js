// One translation: its fields in both languages, what failed in them marked.

import { byId, el } from "../shell/dom.js";
import { mark } from "../shell/i18n.js";

const DECISIONS = { accepted: ["good", "review.accepted"], dropped: ["bad", "review.dropped"] };

/** `mending`: the translations can be written in. */
export function showItem(item, { at, all, mending }) {
  mark(byId("place"), "t", "review.place", { at, all, id: item.id });
  byId("kind").className = item.set_aside ? "badge warn" : "badge";
  mark(byId("kind"), "t", item.set_aside ? "review.aside" : "review.sampled");
  const [kind, key] = DECISIONS[item.decision] ?? [];
  byId("decision").hidden = !key;
  byId("decision").className = `badge ${kind}`;
  if (key) mark(byId("decision"), "t", key);
  byId("reason").textContent = item.decision ? "" : item.reason;
  const sources = item.segments.map((segment) => segment.source);
  const proposals = item.segments.map((segment) => segment.proposal ?? segment.source);
  const shown = item.fields.filter(isShown);
  byId("fields").classList.toggle("decided", item.decision !== null);
  byId("fields").replaceChildren(...shown.map((field) => pair(field, sources, [...proposals, ...sources], mending)));
  byId("failed").hidden = item.segments.length === 0;
  byId("segments").replaceChildren(...item.segments.map(failure));
  byId("failed").open = item.segments.length > 0 && item.decision === null;
}

/** The translations as they are written now, in the order of all fields. */
export function targets(item) {
  const written = [...byId("fields").querySelectorAll("[data-target]")];
  return item.fields.map((field) => (isShown(field) ? written.shift().value : field.target));
}

/** A field that the example has no text for is not shown. */
const isShown = (field) => field.source !== "" || field.target !== "";

function pair(field, sources, proposals, mending) {
  const source = el("div", {}, el("h3", { t: ["review.source", { field: field.name }] }), el("p", { class: "text", "data-side": "source" }, ...marked(field.source, sources)));
  const name = el("h3", { t: ["review.target", { field: field.name }] });
  const target = mending
    ? el("textarea", { class: "input", "data-target": true, value: field.target, tLabel: ["review.target", { field: field.name }] })
    : el("p", { class: "text", "data-side": "target" }, ...marked(field.target, proposals));
  return el("article", { class: "panel pair" }, source, el("div", {}, name, target));
}

function failure({ source, proposal, reason }) {
  const said = proposal ? [" ", el("span", { class: "muted", t: "review.proposal" }), " ", el("q", {}, proposal)] : [];
  return el("li", {}, el("q", {}, source), ...said, el("div", { class: "wrong" }, reason));
}

/** The text with each of `parts` in it marked. */
function marked(text, parts) {
  const found = parts.map((part) => [text.indexOf(part), part]).filter(([at, part]) => part !== "" && at >= 0);
  if (found.length === 0) return [text];
  const [at, part] = found.sort(([a, x], [b, y]) => a - b || y.length - x.length)[0];
  return [text.slice(0, at), el("mark", {}, part), ...marked(text.slice(at + part.length), parts)];
}
