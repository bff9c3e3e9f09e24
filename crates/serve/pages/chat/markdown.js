// Replies as Markdown. The server renders and sanitises; while a reply streams it is asked again and again, but
// never twice at once, and the slower it answers the rarer.

import { el, icon, insertRendered } from "../shell/dom.js";
import { requestJson } from "../shell/http.js";
import { mark, t } from "../shell/i18n.js";
import { announce } from "../shell/shell.js";

/** Milliseconds between two renderings of one reply, at least. */
const PAUSE = 90;

export class Rendered {
  constructor() {
    this.node = el("div", { class: "prose", dir: "auto" });
    this.text = "";
    this.shown = "";
    this.busy = null;
    this.onchange = () => {};
  }

  /** Show `text`; soon, and the latest if it is called again meanwhile. `whole`: nothing more will come. */
  show(text, whole = true) {
    this.text = whole ? text : steady(text);
    this.busy ??= this.follow().finally(() => (this.busy = null));
    return this.busy;
  }

  async follow() {
    while (this.shown !== this.text) {
      const text = this.text;
      const asked = performance.now();
      await this.render(text);
      this.shown = text;
      this.onchange();
      if (this.shown !== this.text) await sleep(Math.max(PAUSE, 4 * (performance.now() - asked)));
    }
  }

  /** Without a server the reply is still there to read, as it was written. */
  async render(text) {
    try {
      const { html } = await requestJson("/ui/markdown", { json: { text } });
      this.node.classList.remove("plain");
      insertRendered(this.node, html, decorate);
    } catch {
      this.node.classList.add("plain");
      this.node.renderedBlocks = [];
      this.node.textContent = text;
    }
  }
}

/**
 * Without a last line that is only the start of something: a "-" under a line would make that line a heading until
 * the list's first word comes.
 */
const steady = (text) => text.replace(/(^|\n)[ \t]*[-*_#>=+|`~\d.):]*[ \t]*$/, "$1");

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A button to copy code; a wide table scrolls by itself. */
function decorate(block) {
  const all = (tag) => (block.matches(tag) ? [block] : [...block.querySelectorAll(tag)]);
  for (const pre of all("pre")) {
    const code = pre.querySelector("code");
    const language = /language-(\S+)/.exec(code?.className ?? "")?.[1] ?? "";
    const frame = el("div", { class: "code" });
    pre.replaceWith(frame);
    pre.tabIndex = 0; // it scrolls, so the keyboard must reach it
    frame.append(
      el(
        "div",
        { class: "code-head" },
        el("span", {}, language),
        copyButton("chat.copy.code", () => code.textContent),
      ),
      pre,
    );
  }
  for (const table of all("table")) {
    const frame = el("div", { class: "scroll", tabindex: "0" });
    table.replaceWith(frame);
    table.classList.add("table");
    frame.append(table);
  }
}

/** A button that copies what `text()` gives and says so for a moment. */
export function copyButton(key, text) {
  const label = el("span", { t: key });
  const button = el(
    "button",
    { type: "button", class: "button quiet small", onclick: copy },
    icon("copy"),
    label,
  );
  async function copy() {
    const told = (await toClipboard(text())) ? "chat.copied" : "chat.copy.failed";
    mark(label, "t", told);
    announce(t(told));
    setTimeout(() => mark(label, "t", key), 1500);
  }
  return button;
}

/** Whether `text` is on the clipboard now. Over plain HTTP from another machine browsers have the old way only. */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const area = el("textarea", { class: "visually-hidden", readonly: true, value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    return done;
  }
}
