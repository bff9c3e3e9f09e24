// What goes with each request. A field that is left empty is as the server has it (/ui/config), and shows that as
// its placeholder.

import { byId } from "../shell/dom.js";

const KEY = "tolmach.settings";
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
/** Sent even when left empty: the page's default is not the API's. */
const ALWAYS = ["temperature", "top_p"];
const FIELDS = ["system", "stop", ...NUMBERS];

export class Settings {
  /** `config` is what /ui/config told. */
  constructor(config) {
    this.memory = byId("set-memory");
    this.defaults = config.defaults ?? {};
    this.remembers = this.defaults.memory ?? true;
    for (const name of FIELDS) {
      const fallback = this.defaults[name];
      field(name).placeholder = Array.isArray(fallback) ? fallback.join("\n") : String(fallback ?? "");
      field(name).addEventListener("change", () => this.save());
    }
    if (config.limits?.max_tokens) field("max_tokens").max = config.limits.max_tokens;
    this.memory.addEventListener("change", () => this.save());
    byId("settings-reset").addEventListener("click", () => this.fill({}));
    byId("settings").addEventListener("close", () => this.save());
    this.fill(stored());
  }

  fill(values) {
    for (const name of FIELDS) field(name).value = values[name] ?? "";
    this.memory.checked = values.memory ?? this.remembers;
    this.save();
  }

  save() {
    const values = Object.fromEntries(
      FIELDS.map((name) => [name, field(name).value]).filter(([, value]) => value !== ""),
    );
    if (this.memory.checked !== this.remembers) values.memory = this.memory.checked;
    localStorage.setItem(KEY, JSON.stringify(values));
  }

  get system() {
    return field("system").value.trim();
  }

  /** What a request says beside the model and the messages. A field out of its bounds is left out. */
  options() {
    const sent = {};
    for (const name of ALWAYS) if (this.defaults[name] !== undefined) sent[name] = this.defaults[name];
    for (const name of NUMBERS) {
      const input = field(name);
      if (input.value !== "" && input.validity.valid) sent[name] = Number(input.value);
    }
    const stop = field("stop")
      .value.split("\n")
      .filter((line) => line !== "")
      .slice(0, 4);
    if (stop.length > 0) sent.stop = stop;
    return sent;
  }
}

const field = (name) => byId(`set-${name}`);

function stored() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
