// The chat page, top to bottom: load what is known, wire the controls, ask, stream, keep.

import { byId, icon } from "../shell/dom.js";
import { requestJson } from "../shell/http.js";
import { t } from "../shell/i18n.js";
import { clearError, showError, start } from "../shell/shell.js";
import { History } from "./history.js";
import { Chooser } from "./models.js";
import { Follower } from "./scroll.js";
import { Settings } from "./settings.js";
import { Speech } from "./speech.js";
import { openStore } from "./store.js";
import { complete } from "./stream.js";
import strings from "./strings.js";
import {
  addTurn,
  addVersion,
  alternatives,
  messages,
  newConversation,
  path,
  removeTurn,
  shownReply,
} from "./tree.js";
import { Turns, drawNone, drawStart } from "./turns.js";

const EXAMPLES = ["chat.example.sky", "chat.example.letter", "chat.example.code", "chat.example.translate"];
/** Milliseconds between two savings of a reply that streams. */
const SAVE_PAUSE = 2000;
/** Milliseconds between two looks at which models are served. */
const LOOK_PAUSE = 5000;
const TOO_LONG = "context_length_exceeded";

/** AbortController of each reply that is being written, by the reply's id, with its conversation. */
const running = new Map();
const turns = new Turns({ edit, again, version, branch }, (reply) => running.has(reply.id));
let conversation = null;
let chooser, settings, history, follower;

start(strings);
wire();
load();

/** Everything that needs the server; offered again when it is not there. */
async function load() {
  try {
    const [config, models] = await Promise.all([requestJson("/ui/config"), requestJson("/v1/models")]);
    settings = new Settings(config);
    chooser = new Chooser(models.data);
  } catch (error) {
    return showError(error.message, load);
  }
  const store = await openStore();
  history = new History(store, await store.all(), open, (id) => id === conversation?.id && open(null));
  if (!store.lasting) showError(t("chat.history.lost"));
  open(history.conversations.find((one) => `#${one.id}` === location.hash) ?? null);
  focusPrompt();
  setInterval(look, LOOK_PAUSE);
  document.addEventListener("visibilitychange", look);
}

/** Models come and go while the server runs; a page that nobody looks at does not ask. */
async function look() {
  if (document.hidden) return;
  const models = await requestJson("/v1/models").catch(() => null); // the next message tells what is wrong
  if (!models) return;
  const wasEmpty = chooser.isEmpty;
  const gone = chooser.renew(models.data);
  if (gone.length > 0) showError(t("chat.gone", { models: gone.join(", ") }));
  if (wasEmpty !== chooser.isEmpty && !conversation) open(null);
  showButtons();
}

function wire() {
  for (const [id, name] of [
    ["toggle-history", "menu"],
    ["open-settings", "settings"],
    ["send", "send"],
    ["stop", "stop"],
    ["jump", "down"],
  ])
    byId(id).append(icon(name));
  follower = new Follower();
  byId("new").addEventListener("click", () => {
    open(null);
    focusPrompt();
  });
  byId("open-settings").addEventListener("click", () => byId("settings").showModal());
  byId("toggle-history").addEventListener("click", () => showHistory(!isHistoryShown()));
  byId("talk").addEventListener("click", (event) => event.target === byId("talk") && showHistory(false)); // the shade
  byId("stop").addEventListener("click", stop);
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  const prompt = byId("prompt");
  prompt.addEventListener("input", fit);
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (isHistoryShown()) closeHistory();
    else stop();
  });
}

/** Shows a conversation; null is a new one, which is kept once something is said. */
function open(found) {
  conversation = found;
  window.history.replaceState(null, "", found ? `#${found.id}` : location.pathname);
  turns.editing = null;
  history.show(found);
  showHistory(false);
  if (found) {
    chooser.choose(found.models);
    turns.draw(found);
    follower.toEnd();
  } else {
    if (chooser.isEmpty) drawNone();
    else drawStart(EXAMPLES, choose);
    follower.toStart();
  }
  showButtons();
}

function choose(text) {
  byId("prompt").value = text;
  send();
}

function send() {
  const prompt = byId("prompt").value;
  if (prompt.trim() === "" || !chooser || chooser.isEmpty || isBusy()) return;
  byId("prompt").value = "";
  fit();
  if (!conversation) {
    conversation = newConversation(chooser.chosen);
    window.history.replaceState(null, "", `#${conversation.id}`);
  }
  const turn = addTurn(conversation, prompt, chooser.chosen);
  askAll(turn, () => {
    if (byId("prompt").value !== "") return false; // the reader has begun another
    removeTurn(conversation, turn);
    if (conversation.turns.length === 0) {
      history.forget(conversation);
      open(null);
    } else turns.draw(conversation);
    byId("prompt").value = prompt;
    fit();
    focusPrompt();
    return true;
  });
}

/** An edited prompt is a new branch at the same place; a running answer to the old one is stopped. */
function edit(before, text) {
  if (chooser.isEmpty) return;
  stop();
  const turn = addTurn(conversation, text, chooser.chosen, before.place);
  askAll(turn, () => {
    removeTurn(conversation, turn, before);
    turns.edit(before, text);
    return true;
  });
}

function again(turn, column) {
  if (chooser.isEmpty) return;
  const asked = turn.columns.length === 1 ? chooser.chosen[0] : column.asked;
  addVersion(column, asked);
  follower.toEnd();
  answerAll(turn, [column]);
}

function version(column, step) {
  column.shown += step;
  turns.draw(conversation);
  history.keep(conversation, false);
}

function branch(turn, step) {
  const all = alternatives(conversation, turn.place);
  conversation.active[turn.place] = all[all.indexOf(turn) + step].id;
  turns.draw(conversation);
  history.keep(conversation, false);
}

/** `takeBack` makes the turn undone, its text to be shortened; false where that cannot be. */
function askAll(turn, takeBack) {
  conversation.models = chooser.chosen;
  history.show(conversation);
  follower.toEnd();
  answerAll(turn, turn.columns, takeBack);
}

/** Streams the shown reply of each of `columns`, all at once. */
async function answerAll(turn, columns, takeBack = () => false) {
  const here = conversation;
  clearError();
  const failed = [];
  const answers = columns.map((column) => answer(here, turn, column, columns.length === 1, failed));
  turns.draw(here);
  showButtons();
  history.keep(here);
  await Promise.all(answers);
  showButtons();
  const tooLong = failed.length === columns.length && failed.every((one) => one.code === TOO_LONG);
  if (tooLong && here === conversation && takeBack()) {
    await history.keepIfAny(here);
    return showError(t(settings.options().max_tokens ? "chat.long.reply" : "chat.long", chooser.narrowest));
  }
  if (failed.length > 0 && here === conversation)
    showError(failed[0].message, () =>
      retry(
        turn,
        failed.map((one) => one.column),
      ),
    );
  showButtons();
  if (here === conversation && isIdleFocus()) focusPrompt();
}

function retry(turn, columns) {
  if (!path(conversation).includes(turn) || isBusy()) return;
  for (const column of columns)
    Object.assign(shownReply(column), { text: "", error: null, model: null, fingerprint: null });
  answerAll(turn, columns);
}

async function answer(here, turn, column, alone, failed) {
  const reply = shownReply(column);
  const stopping = new AbortController();
  running.set(reply.id, { stopping, conversation: here });
  const speech = new Speech();
  const saving = setInterval(() => history.keep(here, false), SAVE_PAUSE);
  try {
    const sent = messages(here, turn, column, { system: settings.system, memory: settings.memory.checked });
    const ended = await completeWhatFits(reply, sent, {
      model: reply.asked,
      options: options(column),
      signal: stopping.signal,
      onModel: (model, fingerprint) => told(reply, model, fingerprint),
      onText: (text) => {
        reply.text += text;
        turns.view(reply)?.rendered.show(reply.text, false);
        if (alone) speech.hear(reply.text);
      },
    });
    Object.assign(reply, ended);
  } catch (error) {
    reply.error = error.message;
    failed.push({ column, message: error.message, code: error.code });
  }
  clearInterval(saving);
  speech.end(alone ? null : t("chat.done.side", { model: reply.model ?? reply.asked }));
  await turns.view(reply)?.rendered.show(reply.text);
  running.delete(reply.id);
  turns.update(reply);
  await history.keep(here);
}

/** Where a conversation has outgrown the model's context, its oldest messages are left out, and that is told. */
async function completeWhatFits(reply, sent, rest) {
  const first = sent.findIndex((message) => message.role !== "system");
  for (reply.omitted = 0; ; reply.omitted += 2) {
    try {
      return await complete({ ...rest, messages: sent.toSpliced(first, reply.omitted) });
    } catch (error) {
      if (error.code !== TOO_LONG || first + reply.omitted + 2 >= sent.length) throw error;
    }
  }
}

/** With a seed of the reader's own, another try counts it up: the same seed would say the same again. */
function options(column) {
  const chosen = settings.options();
  if (chosen.seed !== undefined) chosen.seed += column.shown;
  return chosen;
}

function told(reply, model, fingerprint) {
  if (reply.model === model && reply.fingerprint === fingerprint) return;
  Object.assign(reply, { model, fingerprint });
  turns.update(reply);
}

function stop() {
  for (const one of running.values()) if (one.conversation === conversation) one.stopping.abort();
}

const isBusy = () => [...running.values()].some((one) => one.conversation === conversation);

function showButtons() {
  const busy = isBusy();
  const lost = document.activeElement === byId("send") || document.activeElement === byId("stop");
  byId("prompt").disabled = chooser.isEmpty;
  byId("send").disabled = chooser.isEmpty;
  byId("send").hidden = busy;
  byId("stop").hidden = !busy;
  if (lost) byId(busy ? "stop" : "prompt").focus();
}

/** The prompt grows with what is typed; chat.css holds its height down. */
function fit() {
  const prompt = byId("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

const isIdleFocus = () => [document.body, byId("stop"), byId("scroller")].includes(document.activeElement);

/** On a touch screen the focus would bring up the keyboard unasked. */
function focusPrompt() {
  if (!matchMedia("(pointer: coarse)").matches) byId("prompt").focus({ preventScroll: true });
}

const isHistoryShown = () => byId("toggle-history").getAttribute("aria-expanded") === "true";

function closeHistory() {
  showHistory(false);
  byId("toggle-history").focus();
}

/** The list as a drawer, on narrow screens; on wide ones it is always there. */
function showHistory(shown) {
  byId("toggle-history").setAttribute("aria-expanded", String(shown));
  document.querySelector(".chat").classList.toggle("open", shown);
  if (shown) byId("new").focus();
}
