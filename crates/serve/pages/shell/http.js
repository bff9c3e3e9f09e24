// Requests to our own server: the API key, OpenAI's error JSON, and a message that a person understands.

import { el, byId } from "./dom.js";
import { t } from "./i18n.js";

const KEY = "tolmach.key";

/** What the server says by code, in the page's language; anything else in the server's own words. */
const ERRORS = {
  context_length_exceeded: "shell.error.context",
  queue_full: "shell.error.full",
  model_not_found: "shell.error.model",
  model_failed: "shell.error.failed",
  request_too_large: "shell.error.large",
  timeout: "shell.error.slow",
  stopping: "shell.error.stopping",
  unreadable: "shell.error.unreadable",
  adapter_not_loaded: "shell.error.adapter",
  not_saved: "shell.error.saved",
  no_language: "shell.error.language",
};

/** What went wrong. `status` is 0 when nothing answered; `code` is OpenAI's `error.code`, where there is one. */
export class HttpError extends Error {
  constructor(status, message, code = null, retryAfter = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/**
 * The response of `path`, or an HttpError. `json` is posted as the body; `signal` aborts (an AbortError).
 * A server that demands a key gets the one that the reader types in; it is asked again while refused.
 */
export async function request(
  path,
  { json, signal, method = json === undefined ? "GET" : "POST", headers = {} } = {},
) {
  for (let refused = false; ; refused = true) {
    const key = sessionStorage.getItem(KEY);
    const sent = { ...headers };
    if (key) sent.Authorization = `Bearer ${key}`;
    if (json !== undefined) sent["Content-Type"] = "application/json";
    const response = await send(path, {
      method,
      headers: sent,
      body: json === undefined ? undefined : JSON.stringify(json),
      signal,
    });
    if (response.ok) return response;
    if (response.status !== 401) throw await failure(response);
    await askKey(refused || Boolean(key), key);
  }
}

/** The JSON that `path` answers. */
export const requestJson = async (path, options) => (await request(path, options)).json();

async function send(path, options) {
  try {
    return await fetch(path, { ...options, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new HttpError(0, t("shell.unreachable"));
  }
}

async function failure(response) {
  const told = await response.json().then(
    (body) => body.error,
    () => null,
  );
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  return toldError(response.status, told, retryAfter);
}

/** The HttpError of an error object of OpenAI's shape, or of none. */
export function toldError(status, told, retryAfter = null) {
  const key = ERRORS[told?.code];
  const own = typeof told?.message === "string" ? told.message : t("shell.failed", { status: String(status) });
  return new HttpError(status, key ? t(key) : own, told?.code ?? null, retryAfter);
}

let asking = null;

/** Asks for the key; several requests that meet 401 at once share one dialog. `used` is the key that failed. */
function askKey(refused, used) {
  if (sessionStorage.getItem(KEY) !== used) return Promise.resolve(); // another request has asked meanwhile
  asking ??= keyDialog(refused).finally(() => (asking = null));
  return asking;
}

function keyDialog(refused) {
  const input = el("input", {
    type: "password",
    id: "key-input",
    autocomplete: "off",
    required: true,
    pattern: "[!-~]+", // what a header can carry
    class: "input",
  });
  const cancel = el("button", { type: "button", class: "button", t: "shell.cancel" });
  const dialog = el(
    "dialog",
    { id: "key", class: "dialog", "aria-labelledby": "key-title" },
    el(
      "form",
      { method: "dialog", class: "stack" },
      el("h2", { id: "key-title", t: "shell.key.title" }),
      el("p", { class: "muted", t: "shell.key.why" }),
      refused && el("p", { class: "wrong", role: "alert", t: "shell.key.wrong" }),
      el("label", { for: "key-input", class: "visually-hidden", t: "shell.key.title" }),
      input,
      el(
        "div",
        { class: "row end" },
        cancel,
        el("button", { type: "submit", class: "button primary", t: "shell.key.use" }),
      ),
    ),
  );
  document.body.append(dialog);
  return new Promise((resolve, reject) => {
    cancel.addEventListener("click", () => dialog.close("cancel"));
    dialog.addEventListener("close", () => {
      dialog.remove();
      byId("main")?.focus({ preventScroll: true });
      if (dialog.returnValue === "cancel" || input.value === "")
        reject(new HttpError(401, t("shell.key.why")));
      else {
        sessionStorage.setItem(KEY, input.value);
        resolve();
      }
    });
    dialog.showModal();
  });
}
