// A prompt of one's own, answered by the untouched base and by the adapter as it is now.
//
// Each side is labelled with what the answer says has run: the model, and its step.

import { byId, el } from "../shell/dom.js";
import { request, requestJson, toldError } from "../shell/http.js";
import { mark } from "../shell/i18n.js";
import { clearError, showError } from "../shell/shell.js";
import { events } from "./events.js";

const TOKENS = 160;

let run = null;
let asking = null;

export function wireLive() {
  byId("live-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (asking === null) ask(byId("live-prompt").value.trim());
  });
  byId("live-prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("live-form").requestSubmit();
    }
    if (event.key === "Escape") asking?.abort();
  });
  byId("live-stop").addEventListener("click", () => asking?.abort());
}

export function showLive(now) {
  if (run !== now.id) {
    asking?.abort();
    byId("live-sides").replaceChildren();
    say(null);
  }
  run = now.id;
  byId("live").hidden = !now.can_ask;
}

function say(key) {
  if (key) mark(byId("live-news"), "t", key);
  else {
    delete byId("live-news").dataset.t;
    byId("live-news").textContent = "";
  }
}

async function ask(prompt) {
  if (prompt === "") return;
  asking = new AbortController();
  const { signal } = asking;
  busy(true);
  clearError();
  say("training.live.wait");
  try {
    const { base, tuned, current } = await requestJson(`/ui/runs/${run}/live`, { json: {}, signal });
    say(current ? null : "training.live.old");
    const sides = [side("base"), side("tuned")];
    byId("live-sides").replaceChildren(...sides.map((one) => one.node));
    await Promise.all([base, tuned].map((model, at) => answer(model, prompt, sides[at], signal)));
    if (current) say("training.live.answered");
  } catch (error) {
    say(null);
    if (!signal.aborted) showError(error.message, () => ask(prompt));
  }
  asking = null;
  busy(false);
}

function busy(is) {
  byId("live-ask").disabled = is;
  byId("live-stop").hidden = !is;
}

function side(kind) {
  const label = el("h4", { class: kind });
  const version = el("span", { class: "badge" });
  const said = el("p", { class: "said", "aria-busy": "true" });
  return { label, version, said, node: el("div", { data: { side: kind } }, el("div", { class: "label" }, label, version), said) };
}

async function answer(model, prompt, { label, version, said }, signal) {
  const json = { model, messages: [{ role: "user", content: prompt }], temperature: 0, max_tokens: TOKENS, stream: true };
  const response = await request("/v1/chat/completions", { json, signal });
  try {
    for await (const { data } of events(response.body)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw toldError(500, chunk.error);
      label.textContent = chunk.model;
      version.textContent = chunk.system_fingerprint ?? "";
      said.textContent += chunk.choices?.[0]?.delta?.content ?? "";
    }
  } finally {
    said.removeAttribute("aria-busy");
  }
}
