// The conversation on the page: questions, replies side by side, and the buttons under them.

import { byId, el, iconButton } from "../shell/dom.js";
import { Rendered, copyButton } from "./markdown.js";
import { alternatives, path, shownReply } from "./tree.js";

/**
 * Draws conversations. `on` = { edit(turn, text), again(turn, column), version(column, step), branch(turn, step) }.
 * `isRunning(reply)` says whether a reply is being written now.
 */
export class Turns {
  constructor(on, isRunning) {
    Object.assign(this, { on, isRunning });
    this.node = byId("turns");
    this.views = new Map(); // by the id of the reply, so that a redraw leaves a streaming reply alone
    this.editing = null;
    this.draft = null;
  }

  /** Opens the editor of `turn` with `text`, or with what was asked. */
  edit(turn, text = turn.prompt) {
    Object.assign(this, { editing: turn.id, draft: text });
    this.draw(this.conversation);
    byId("edit-text").focus();
  }

  draw(conversation) {
    this.conversation = conversation;
    keepFocus(() => this.node.replaceChildren(...path(conversation).map((turn) => this.turn(turn))));
  }

  /** Head and foot of one reply, anew; its text is told to `view(reply).rendered`. */
  update(reply) {
    const view = this.views.get(reply.id);
    if (view) keepFocus(() => view.update());
  }

  view(reply) {
    return this.views.get(reply.id);
  }

  turn(turn) {
    const sides = el("div", { class: "sides", data: { count: String(turn.columns.length) } });
    turn.columns.forEach((column, index) => sides.append(this.reply(turn, column, index)));
    return el("article", { class: "turn", data: { turn: turn.id } }, this.question(turn), sides);
  }

  question(turn) {
    if (this.editing === turn.id) return this.editor(turn);
    const all = alternatives(this.conversation, turn.place);
    return el(
      "div",
      { class: "question" },
      el("h2", { class: "visually-hidden", t: "chat.you" }),
      el("div", { class: "bubble", dir: "auto" }, turn.prompt),
      el(
        "div",
        { class: "tools" },
        switcher(
          all.indexOf(turn),
          all.length,
          (step) => this.on.branch(turn, step),
          ["chat.branch.back", "chat.branch.on"],
          `${turn.place}:branch`,
        ),
        iconButton("edit", "chat.edit", () => this.edit(turn), { data: { focus: `${turn.id}:edit` } }),
      ),
    );
  }

  editor(turn) {
    const close = () => {
      this.editing = null;
      this.draw(this.conversation);
      this.node.querySelector(`[data-focus="${turn.id}:edit"]`)?.focus();
    };
    const text = el("textarea", {
      id: "edit-text",
      class: "input",
      rows: Math.min(10, this.draft.split("\n").length + 1),
      tLabel: "chat.edit",
      value: this.draft,
    });
    const send = () => {
      if (text.value.trim() === "") return;
      this.editing = null;
      this.on.edit(turn, text.value);
    };
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send();
    });
    return el(
      "div",
      { class: "question editing" },
      text,
      el(
        "div",
        { class: "row end" },
        el("button", { type: "button", class: "button", t: "shell.cancel", onclick: close }),
        el("button", { type: "button", class: "button primary", t: "chat.edit.send", onclick: send }),
      ),
    );
  }

  reply(turn, column, index) {
    const reply = shownReply(column);
    let view = this.views.get(reply.id);
    if (!view) {
      view = new ReplyView(reply, this.isRunning);
      this.views.set(reply.id, view);
    }
    Object.assign(view, {
      place: `${turn.id}:${index}`,
      version: [column.shown, column.versions.length, (step) => this.on.version(column, step)],
      again: () => this.on.again(turn, column),
    });
    view.update();
    return view.node;
  }
}

/** One reply: who wrote it, its text, how it went. */
class ReplyView {
  constructor(reply, isRunning) {
    Object.assign(this, { reply, isRunning });
    this.rendered = new Rendered();
    this.head = el("div", { class: "reply-head" });
    this.foot = el("div", { class: "tools" });
    this.node = el("section", { class: "reply" }, this.head, this.rendered.node, this.foot);
    this.rendered.onchange = () =>
      this.node.classList.toggle("waiting", this.isRunning(reply) && this.rendered.shown === "");
    if (reply.text !== "") this.rendered.show(reply.text);
  }

  update() {
    const running = this.isRunning(this.reply);
    this.node.setAttribute("aria-busy", String(running));
    this.node.classList.toggle("waiting", running && this.rendered.shown === "");
    this.head.replaceChildren(...this.label(running));
    this.foot.replaceChildren(...this.notes(running), ...this.tools(running));
  }

  /** What the server said has run; before it has said so, what was asked for, marked as such. */
  label(running) {
    const { asked, model, fingerprint } = this.reply;
    const name = el("h3", { class: "badge model", title: fingerprint }, model ?? asked);
    const parts = [name];
    if (model === null)
      parts.push(el("span", { class: "hint", t: running ? "chat.waiting" : "chat.never.ran" }));
    else if (model !== asked)
      parts.push(el("span", { class: "badge warn", t: ["chat.other.ran", { asked }] }));
    if (fingerprint) parts.push(el("span", { class: "hint fingerprint" }, fingerprint));
    return parts;
  }

  notes(running) {
    const { error, finish, stats, omitted } = this.reply;
    const notes = [];
    if (omitted > 0) notes.push(el("p", { class: "hint", t: ["chat.omitted", { n: omitted }] }));
    if (error !== null) notes.push(el("p", { class: "wrong" }, error));
    else if (!running && Object.hasOwn(ENDS, String(finish)))
      notes.push(el("p", { class: "hint", t: ENDS[finish] }));
    const figures = [
      stats?.first != null && el("span", { t: ["chat.first", { n: stats.first }] }),
      stats?.rate != null && el("span", { t: ["chat.rate", { n: rounded(stats.rate) }] }),
      stats?.tokens != null && el("span", { t: ["chat.tokens", { n: stats.tokens }] }),
    ].filter(Boolean);
    if (!running && figures.length > 0) notes.push(el("p", { class: "hint figures" }, ...figures));
    return notes;
  }

  tools(running) {
    const [shown, count, step] = this.version;
    const tools = [
      switcher(shown, count, step, ["chat.version.back", "chat.version.on"], `${this.place}:version`),
    ];
    if (!running) {
      tools.push(iconButton("again", "chat.again", this.again, { data: { focus: `${this.place}:again` } }));
      if (this.reply.text !== "") tools.push(copyButton("chat.copy", () => this.reply.text));
    }
    return [el("div", { class: "row" }, ...tools.filter(Boolean))];
  }
}

/** What is said of a reply's end, other than the usual one. null: the page was closed while it came. */
const ENDS = { length: "chat.end.length", stopped: "chat.end.stopped", null: "chat.end.interrupted" };

const rounded = (rate) => (rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate));

/** ‹ 2 / 3 ›, or null where there is no choice. */
function switcher(shown, count, step, [back, on], focus) {
  if (count < 2) return null;
  const button = (name, key, by, usable) =>
    iconButton(name, key, () => usable && step(by), {
      "aria-disabled": String(!usable),
      data: { focus: `${focus}:${by}` },
    });
  return el(
    "span",
    { class: "switcher" },
    button("left", back, -1, shown > 0),
    el("span", { t: ["chat.version.of", { n: shown + 1, all: count }] }),
    button("right", on, 1, shown < count - 1),
  );
}

/** Runs `redraw`; the button that had the focus has it again, if it is still there. */
function keepFocus(redraw) {
  const focused = document.activeElement?.dataset?.focus;
  redraw();
  if (focused && document.activeElement === document.body)
    document.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** The page where no model is served. */
export function drawNone() {
  byId("turns").replaceChildren(
    el(
      "div",
      { class: "empty welcome" },
      el("h2", { t: "chat.none.title" }),
      el("p", { t: "chat.none.how" }),
      el("p", {}, el("code", {}, "tolmach serve --model NAME=BASE+ADAPTER")),
    ),
  );
}

/** The page before anything was said. */
export function drawStart(examples, onchoose) {
  const cards = examples.map((key) => {
    const button = el("button", { type: "button", class: "button example", t: key });
    button.addEventListener("click", () => onchoose(button.textContent));
    return button;
  });
  byId("turns").replaceChildren(
    el(
      "div",
      { class: "empty welcome" },
      el("h2", { t: "chat.start.title" }),
      el("p", { t: "chat.start.why" }),
      el("div", { class: "examples" }, ...cards),
    ),
  );
}
