// The list of conversations: search, rename, delete, export, import.

import { byId, download, el, iconButton } from "../shell/dom.js";
import { date } from "../shell/i18n.js";
import { ask, showError } from "../shell/shell.js";
import { t } from "../shell/i18n.js";
import { mentions, readConversation } from "./tree.js";

export class History {
  /** `onopen(conversation)` shows one, `onremove(id)` is told when one is gone. */
  constructor(store, conversations, onopen, onremove) {
    Object.assign(this, { store, onopen, onremove });
    this.conversations = conversations.sort((a, b) => b.updated - a.updated);
    this.current = null;
    this.renaming = null;
    byId("search").addEventListener("input", () => this.draw());
    byId("export").addEventListener("click", () => this.exportAll());
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", (event) => this.importFile(event.target));
    document.addEventListener("tolmach:language", () => this.draw());
    this.draw();
  }

  /** Keeps `conversation`, as the latest if something was `said` in it. */
  async keep(conversation, said = true) {
    if (said) conversation.updated = Date.now();
    this.conversations = [
      conversation,
      ...this.conversations.filter((other) => other.id !== conversation.id),
    ];
    this.conversations.sort((a, b) => b.updated - a.updated);
    this.draw();
    await this.store.put(conversation);
  }

  show(conversation) {
    this.current = conversation?.id ?? null;
    this.draw();
  }

  draw() {
    const query = byId("search").value.trim();
    const found =
      query === "" ? this.conversations : this.conversations.filter((one) => mentions(one, query));
    byId("conversations").replaceChildren(...found.map((one) => this.row(one)));
    byId("no-conversations").hidden = found.length > 0 || query === "";
  }

  row(conversation) {
    if (this.renaming === conversation.id) return this.renamingRow(conversation);
    const current = conversation.id === this.current;
    const open = el(
      "button",
      {
        type: "button",
        class: "open",
        "aria-current": current ? "true" : null,
        title: date(conversation.updated),
        onclick: () => this.onopen(conversation),
      },
      el("span", { class: "title" }, conversation.title),
    );
    const rename = () => {
      this.renaming = conversation.id;
      this.draw();
      byId("rename").select();
    };
    const { id, title } = conversation;
    const about = (key) => ({ data: { of: id }, tLabel: [key, { title }] });
    return el(
      "li",
      { class: current ? "current" : null },
      open,
      iconButton("edit", "chat.rename", rename, about("chat.rename.of")),
      iconButton("remove", "chat.delete", () => this.remove(conversation), about("chat.delete.of")),
    );
  }

  renamingRow(conversation) {
    const input = el("input", {
      class: "input",
      id: "rename",
      value: conversation.title,
      tLabel: "chat.rename",
      maxlength: "120",
    });
    const done = (keep) => {
      if (this.renaming === null) return;
      this.renaming = null;
      if (keep && input.value.trim() !== "") conversation.title = input.value.trim();
      this.keep(conversation, false);
      document.querySelector(`#conversations [data-of="${conversation.id}"]`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault(); // or the button that gets the focus is pressed by the same key
      done(event.key === "Enter");
    });
    input.addEventListener("blur", () => done(true));
    return el("li", {}, input);
  }

  async remove(conversation) {
    if (!(await ask("chat.delete.sure", { title: conversation.title }, "chat.delete"))) return;
    await this.forget(conversation);
    this.onremove(conversation.id);
    byId("search").focus();
  }

  /** Keeps a conversation from which something was taken back, if anything is left of it. */
  async keepIfAny(conversation) {
    if (conversation.turns.length > 0) await this.keep(conversation, false);
  }

  async forget(conversation) {
    this.conversations = this.conversations.filter((other) => other.id !== conversation.id);
    this.draw();
    await this.store.remove(conversation.id);
  }

  exportAll() {
    const file = JSON.stringify(
      { format: "tolmach-conversations", version: 1, conversations: this.conversations },
      null,
      2,
    );
    download(new Blob([file], { type: "application/json" }), "tolmach-conversations.json");
  }

  /** Adds a file's conversations; where one is here already, the newer stays. */
  async importFile(input) {
    const file = input.files[0];
    input.value = "";
    if (!file) return;
    const read = await file
      .text()
      .then(JSON.parse)
      .catch(() => null);
    const list =
      read?.format === "tolmach-conversations" && Array.isArray(read.conversations)
        ? read.conversations
        : null;
    const found = list?.map(readConversation).filter(Boolean) ?? [];
    if (list === null || found.length < list.length)
      return showError(t("chat.import.wrong", { file: file.name }));
    for (const conversation of found) {
      const known = this.conversations.find((other) => other.id === conversation.id);
      if (!known || known.updated < conversation.updated) await this.keep(conversation, false);
    }
  }
}
