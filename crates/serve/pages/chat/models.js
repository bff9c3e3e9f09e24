// The chooser on top: one model to talk to, or several to compare.

import { byId, el, icon, iconButton } from "../shell/dom.js";

const KEY = "tolmach.models";
/** Sides of a comparison, at most. */
const MOST = 4;

export class Chooser {
  /** `known` is the `data` of /v1/models. */
  constructor(known) {
    this.node = byId("models");
    this.learn(known);
    this.choose(stored());
  }

  learn(known) {
    this.known = known.map((model) => model.id);
    this.bases = new Set(known.filter((model) => !model.parent).map((model) => model.id));
    this.contexts = new Map(known.map((model) => [model.id, model.max_model_len]));
  }

  /** Takes what is served now; the chosen models that are gone. */
  renew(known) {
    const before = this.known.join("\n");
    this.learn(known);
    if (this.known.join("\n") === before) return [];
    const gone = this.models.filter((model) => !this.known.includes(model));
    const focused = [...this.node.querySelectorAll("select")].indexOf(document.activeElement);
    this.choose(this.models);
    if (focused >= 0) this.node.querySelectorAll("select")[focused]?.focus();
    return gone;
  }

  get isEmpty() {
    return this.known.length === 0;
  }

  /** The chosen model with the shortest context, and that. */
  get narrowest() {
    const all = this.models.map((model) => ({ model, context: this.contexts.get(model) ?? 0 }));
    return all.sort((a, b) => a.context - b.context)[0];
  }

  /** The models that are asked, in order. */
  get chosen() {
    return this.models;
  }

  choose(models) {
    this.models = models.filter((model) => this.known.includes(model)).slice(0, MOST);
    if (this.models.length === 0)
      this.models = this.known.filter((model) => !this.bases.has(model)).slice(0, 1);
    if (this.models.length === 0) this.models = this.known.slice(0, 1);
    this.draw();
  }

  change(models) {
    localStorage.setItem(KEY, JSON.stringify(models));
    this.choose(models);
  }

  draw() {
    const sides = this.models.map((model, index) => this.side(model, index));
    this.node.replaceChildren(...sides);
    const left = this.known.filter((model) => !this.models.includes(model));
    if (left.length === 0 || this.models.length >= MOST) return;
    const first = this.models.length === 1;
    const add = () => {
      // Before and after first: the base beside an adapter, an adapter beside the base.
      const other = this.bases.has(this.models[0])
        ? left[0]
        : (left.find((model) => this.bases.has(model)) ?? left[0]);
      this.change([...this.models, other]);
      this.node.querySelectorAll("select")[this.models.length - 1]?.focus();
    };
    const props = {
      type: "button",
      class: "button quiet",
      id: "compare",
      tTitle: "chat.compare.hint",
      onclick: add,
    };
    this.node.append(
      el("button", props, icon("plus"), el("span", { t: first ? "chat.compare" : "chat.compare.more" })),
    );
  }

  side(model, index) {
    const select = el("select", { class: "input", tLabel: ["chat.model", { n: index + 1 }] });
    for (const id of this.known) select.append(el("option", { value: id, selected: id === model }, id));
    select.addEventListener("change", () => {
      this.change(this.models.map((other, place) => (place === index ? select.value : other)));
      this.node.querySelectorAll("select")[index]?.focus();
    });
    const side = el("span", { class: "side" }, select);
    const drop = () => {
      this.change(this.models.filter((_, place) => place !== index));
      byId("compare")?.focus();
    };
    if (this.models.length > 1) side.append(iconButton("close", "chat.compare.drop", drop));
    return side;
  }
}

/** Chosen when the page was last open. */
function stored() {
  try {
    const models = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(models) ? models : [];
  } catch {
    return [];
  }
}
