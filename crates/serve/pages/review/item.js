// One translation: its fields in both languages, what failed in them marked.

import { byId, el } from "../shell/dom.js";
import { mark } from "../shell/i18n.js";
import { reasonOf, spotsOf } from "./reasons.js";

const DECISIONS = { accepted: ["good", "review.accepted"], dropped: ["bad", "review.dropped"] };
const FIELDS = {
  instruction: ["review.source.instruction", "review.target.instruction"],
  input: ["review.source.input", "review.target.input"],
  output: ["review.source.output", "review.target.output"],
  text: ["review.source.text", "review.target.text"],
};

/** `draft`: the translations, field by field, as they are to be written in; null shows them as they are. */
export function showItem(item, { at, all, draft }) {
  mark(byId("place"), "t", "review.place", { at, all, id: item.id });
  byId("kind").className = item.set_aside ? "badge warn" : "badge";
  mark(byId("kind"), "t", item.set_aside ? "review.aside" : "review.sampled");
  const [kind, key] = DECISIONS[item.decision] ?? [];
  byId("decision").hidden = !key;
  byId("decision").className = `badge ${kind}`;
  if (key) mark(byId("decision"), "t", key);
  showReason(item);
  const sources = item.segments.map(({ source, why }) => [source, spotsOf(why).source]);
  const proposals = item.segments.map(({ proposal, why }) => [proposal ?? "", spotsOf(why).target]);
  const left = item.segments.map(({ source }) => [source, []]);
  byId("fields").classList.toggle("decided", item.decision !== null);
  const pairs = item.fields.map((field, i) =>
    isShown(field) ? pair(field, sources, [...proposals, ...left], draft?.[i]) : null,
  );
  byId("fields").replaceChildren(...pairs.filter(Boolean));
  byId("failed").hidden = item.segments.length === 0;
  byId("segments").replaceChildren(...item.segments.map(failure));
  byId("failed").open = item.segments.length > 0 && item.decision === null;
}

function showReason({ decision, set_aside, segments, reason, why }) {
  const node = byId("reason");
  node.hidden = decision !== null || !set_aside;
  const told = segments.length > 0 ? ["review.open", { n: segments.length }] : reasonOf(why);
  if (told) mark(node, "t", ...told);
  else {
    delete node.dataset.t;
    node.textContent = reason;
  }
}

/** The translations as they are written now, in the order of all fields. */
export function targets(item) {
  const written = [...byId("fields").querySelectorAll("[data-target]")];
  return item.fields.map((field) => (isShown(field) ? written.shift().value : field.target));
}

/** The translations with what the engine said in the place of each segment that has none. */
export function withProposals(item) {
  const put = (text) =>
    item.segments.reduce(
      (all, { source, proposal }) => (proposal ? all.replaceAll(source, () => proposal) : all),
      text,
    );
  return item.fields.map((field) => put(field.target));
}

export const hasProposal = (item) => item.decision === null && item.segments.some(({ proposal }) => proposal);

/** A field that the example has no text for is not shown. */
const isShown = (field) => field.source !== "" || field.target !== "";

function pair(field, sources, targets, draft) {
  const [sourceKey, targetKey] = FIELDS[field.name] ?? ["review.source", "review.target"];
  const name = (key) => [key, { field: field.name }];
  const source = el("p", { class: "text", "data-side": "source" }, ...marked(field.source, sources));
  const target =
    draft === undefined
      ? el("p", { class: "text", "data-side": "target" }, ...marked(field.target, targets))
      : el("textarea", { class: "input", "data-target": true, value: draft, tLabel: name(targetKey) });
  return el(
    "article",
    { class: "panel pair" },
    el("div", {}, el("h3", { t: name(sourceKey) }), source),
    el("div", {}, el("h3", { t: name(targetKey) }), target),
  );
}

function failure({ source, proposal, reason, why }) {
  const [key, spots] = [reasonOf(why), spotsOf(why)];
  const said = (kind, text, parts) =>
    el("div", {}, el("h3", { t: kind }), el("p", { class: "text" }, ...spotted(text, parts)));
  return el(
    "li",
    {},
    key ? el("p", { class: "wrong", t: key }) : el("p", { class: "wrong" }, reason),
    el(
      "div",
      { class: "pair" },
      said("review.segment", source, spots.source),
      proposal && said("review.proposal", proposal, spots.target),
    ),
  );
}

/** The text with each segment of `parts` = [segment, its spots] in it marked, and the spots within. */
function marked(text, parts) {
  const found = parts
    .filter(([part]) => part !== "" && text.includes(part))
    .sort(([a], [b]) => text.indexOf(a) - text.indexOf(b) || b.length - a.length)[0];
  if (!found) return [text];
  const [part, spots] = found;
  const at = text.indexOf(part);
  const rest = text.slice(at + part.length);
  return [text.slice(0, at), el("mark", {}, ...spotted(part, spots)), ...marked(rest, parts)];
}

/** The text with each of `spots` in it marked strongly, where it is no part of a longer word or number. */
function spotted(text, spots) {
  const wanted = spots.filter((spot) => spot !== "").map(literal);
  if (wanted.length === 0) return [text];
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(${wanted.join("|")})(?![\\p{L}\\p{N}])`, "iu");
  return text.split(pattern).map((part, i) => (i % 2 === 1 ? el("mark", { class: "spot" }, part) : part));
}

const literal = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
