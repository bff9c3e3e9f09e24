// The shell that every page shares. How a page called NAME plugs in:
//
//   pages/NAME/NAME.html   what goes into <main> (a fragment; the head, the bar and the regions come from shell.html)
//   pages/NAME/NAME.css    its own rules, over the classes of shell.css
//   pages/NAME/NAME.js     its module:  import { start } from "../shell/shell.js";
//                                       import strings from "./strings.js";
//                                       start(strings);            // first: translates, wires the switches
//   pages/NAME/strings.js  `export default { "NAME.key": ["English", "Русский"] }`, strict JSON after the words
//   src/pages/files.rs     one row per file in FILES, one row in PAGES: address, NAME, the body
//   shell/strings.js       shell.NAME, the entry of the bar
//
// From here: start, showError, clearError, announce, ask. From dom.js: el, byId, icon, iconButton, insertRendered
// (the only place where HTML goes in). From i18n.js: t, mark, number, date, language. From http.js: request,
// requestJson, HttpError. The policy is strict: no inline script, no style attribute, nothing from other hosts.
//
// Classes of shell.css: page (a centred column) · panel · stack, row, row end, grid (layout) · button, primary,
// quiet, danger, icon · input, field, hint · table, number · badge, badge good / warn / bad · empty · banner ·
// dialog · muted · visually-hidden.

import { byId, el, icon, iconButton } from "./dom.js";
import { language, mark, register, setLanguage, translate } from "./i18n.js";
import strings from "./strings.js";

const THEMES = { auto: "shell.theme.auto", light: "shell.theme.light", dark: "shell.theme.dark" };

/** Registers the page's strings, translates what is there, wires the switches, shows the page. */
export function start(pageStrings) {
  register(strings);
  register(pageStrings);
  translate(document);
  wireLanguage();
  wireTheme();
  delete document.documentElement.dataset.loading;
}

/** Tells an error at the top of the page; with `retry` there is a button that calls it. */
export function showError(message, retry = null) {
  const banner = el("div", { class: "banner" }, el("p", {}, message));
  if (retry) {
    const again = () => {
      clearError();
      retry();
    };
    banner.append(el("button", { type: "button", class: "button", t: "shell.retry", onclick: again }));
  }
  banner.append(iconButton("close", "shell.dismiss", clearError));
  byId("banner").replaceChildren(banner);
}

export function clearError() {
  byId("banner").replaceChildren();
}

/** Milliseconds in which two announcements are one: the second would silence the first. */
const BREATH = 1000;
let spoken = { text: "", at: -BREATH };

/** Has a screen reader say `text` when it next pauses. */
export function announce(text) {
  const now = performance.now();
  spoken = { text: now - spoken.at < BREATH ? `${spoken.text} ${text}` : text, at: now };
  byId("announce").textContent = spoken.text;
}

/** A question with two answers; true when `yes` (a key) was chosen. */
export function ask(questionKey, values, yes) {
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": "ask-title" },
    el(
      "form",
      { method: "dialog", class: "stack" },
      el("p", { id: "ask-title", t: [questionKey, values] }),
      el(
        "div",
        { class: "row end" },
        el("button", { class: "button", value: "no", t: "shell.cancel" }),
        el("button", { class: "button danger", value: "yes", t: yes }),
      ),
    ),
  );
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    dialog.showModal();
  });
}

function wireLanguage() {
  const button = byId("language");
  const show = () => {
    // Each language is named in itself, for those who cannot read the other.
    const [code, name] = language() === "ru" ? ["en", "English"] : ["ru", "Русский"];
    button.lang = code;
    button.textContent = name;
    document.title = `${document.querySelector(".places [aria-current]").textContent} · Tolmach`;
  };
  button.addEventListener("click", () => setLanguage(button.lang));
  document.addEventListener("tolmach:language", show);
  show();
}

function wireTheme() {
  const root = document.documentElement;
  const button = byId("theme");
  const show = () => {
    const theme = root.dataset.theme ?? "auto";
    button.replaceChildren(icon(theme));
    mark(button, "tLabel", THEMES[theme]);
    mark(button, "tTitle", THEMES[theme]);
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(root.dataset.theme ?? "auto") + 1) % names.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    localStorage.setItem("tolmach.theme", next);
    show();
  });
  show();
}
