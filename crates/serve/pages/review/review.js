// The review page: one translation at a time, source and target side by side, decided by keys.
//
// review.js  what there is, where we are, what a key does
// item.js    how a translation is shown and mended
// reasons.js why it was set aside, in words

import { byId, el } from "../shell/dom.js";
import { requestJson } from "../shell/http.js";
import { mark, t } from "../shell/i18n.js";
import { announce, clearError, showError, start } from "../shell/shell.js";
import { hasProposal, showItem, targets, withProposals } from "./item.js";
import strings from "./strings.js";

let items = [];
let at = 0;
let version = "";
/** The translations that are written in; null while nothing is mended. */
let draft = null;
let busy = false;
/** What undoing posts: the last decision's example as it was before. */
const past = [];

const KEYS = { j: () => move(1), k: () => move(-1), a: accept, e: mend, p: propose, d: drop, u: undo, w: apply, "?": help };
const BUTTONS = { next: () => move(1), previous: () => move(-1), accept, mend, propose, drop, undo, save, cancel, apply, help };

start(strings);
for (const [id, act] of Object.entries(BUTTONS)) byId(id).addEventListener("click", act);
byId("reviews").addEventListener("change", () => {
  history.replaceState(null, "", `#${byId("reviews").value}`);
  read();
});
document.addEventListener("keydown", key);
document.addEventListener("tolmach:language", () => {
  if (draft !== null) draft = targets(items[at]);
  if (items.length > 0) draw();
});
load();

async function load() {
  try {
    const { reviews } = await requestJson("/ui/reviews");
    const entry = ({ id, name, left }) => el("option", { value: id }, left > 0 ? `${name} (${left})` : name);
    byId("reviews").replaceChildren(...reviews.map(entry));
    const first = reviews.find(({ id }) => `#${id}` === location.hash) ?? reviews.find(({ left }) => left > 0);
    if (first) byId("reviews").value = first.id;
    byId("which").hidden = reviews.length < 2;
    byId("empty").hidden = reviews.length > 0;
    if (reviews.length > 0) await read();
  } catch (error) {
    showError(error.message, load);
  }
}

/** Reads everything anew, and stays where it was if that is still there. */
async function read() {
  const before = items[at]?.id;
  const answer = await requestJson(address()).catch((error) => showError(error.message, read));
  if (!answer) return;
  ({ items, version } = answer);
  past.length = 0;
  draft = null;
  const same = items.findIndex((item) => item.id === before);
  at = same >= 0 ? same : Math.max(0, items.findIndex((item) => item.decision === null));
  byId("empty").hidden = items.length > 0;
  byId("work").hidden = items.length === 0;
  if (items.length > 0) draw();
}

const address = (more = "") => `/ui/reviews/${byId("reviews").value}${more}`;

function key(event) {
  const isWriting = event.target.closest("textarea, input, select");
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  const isFree = !isWriting && draft === null && !byId("keys").open && items.length > 0;
  if (draft !== null && event.key === "Escape") cancel();
  else if (draft !== null && event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
  else if (isFree && isPlain && Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function draw() {
  const left = items.filter((item) => item.decision === null).length;
  mark(byId("left"), "t", "review.left", { left, all: items.length });
  showItem(items[at], { at: at + 1, all: items.length, draft });
  byId("mending").hidden = draft === null;
  document.querySelector(".actions").hidden = draft !== null;
  byId("propose").hidden = !hasProposal(items[at]);
  byId("undo").disabled = past.length === 0;
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === items.length - 1;
}

function move(by) {
  at = Math.min(items.length - 1, Math.max(0, at + by));
  clearError();
  draw();
  announce(byId("place").textContent);
}

function mend() {
  write(items[at].fields.map((field) => field.target));
}

/** Mends what the engine said, which failed a check. */
function propose() {
  if (hasProposal(items[at])) write(withProposals(items[at]));
}

function write(texts) {
  draft = texts;
  draw();
  byId("fields").querySelector("textarea")?.focus();
}

function cancel() {
  draft = null;
  draw();
  byId("fields").focus();
}

function accept() {
  return decide("accept", items[at].fields.map((field) => field.target), "review.said.accepted");
}

function save() {
  return decide("accept", targets(items[at]), "review.said.accepted");
}

function drop() {
  return decide("drop", [], "review.said.dropped");
}

async function decide(action, texts, said) {
  const item = items[at];
  const before = { item, decision: item.decision, targets: item.fields.map((field) => field.target) };
  if (!(await post(item, action, texts))) return;
  past.push(before);
  draft = null;
  const next = [...items.keys()].map((i) => (at + i) % items.length).find((i) => items[i].decision === null);
  at = next ?? at;
  draw();
  byId("fields").focus();
  announce(`${t(said)} ${byId("left").textContent}`);
}

async function undo() {
  const last = past.pop();
  if (!last) return;
  const action = { accepted: "accept", dropped: "drop" }[last.decision] ?? "reopen";
  if (!(await post(last.item, action, last.targets))) return;
  at = items.indexOf(last.item);
  draw();
  announce(t("review.said.undone"));
}

/** Saves a decision; false if it was not. */
async function post(item, action, texts) {
  if (busy) return false;
  busy = true;
  try {
    const json = { version, example: item.id, action, targets: texts };
    ({ version } = await requestJson(address(), { json }));
    clearError();
    item.decision = { accept: "accepted", drop: "dropped" }[action] ?? null;
    if (texts.length > 0) item.fields.forEach((field, i) => (field.target = texts[i]));
    return true;
  } catch (error) {
    await failed(error);
    return false;
  } finally {
    busy = false;
  }
}

async function failed(error) {
  if (error.code === "untranslated") showError(t("review.untranslated"));
  else if (error.code === "conflict") {
    await read();
    showError(t("review.conflict"));
  } else showError(error.message);
}

async function apply() {
  if (busy) return;
  busy = true;
  try {
    const answer = await requestJson(address("/apply"), { json: { version } });
    version = answer.version;
    clearError();
    mark(byId("left"), "t", "review.applied", { examples: answer.examples, before: answer.before });
    announce(byId("left").textContent);
  } catch (error) {
    await failed(error);
  }
  busy = false;
}

function help() {
  byId("keys").showModal();
}
