// One streamed completion: server-sent events → text, what really ran, and how fast.

import { HttpError, request, toldError } from "../shell/http.js";
import { t } from "../shell/i18n.js";

/** Milliseconds in which a whole reply is no stream. */
const BURST = 100;

/**
 * Streams a reply. `onText(delta)` gets the text as it comes, `onModel(model, fingerprint)` what runs, told by the
 * server. Resolves to { finish, stats: { first, rate, tokens } }: seconds to the first token, tokens per second
 * after it, tokens in all; `finish` is "stopped" after an abort.
 */
export async function complete({ model, messages, options, signal, onText, onModel }) {
  const started = performance.now();
  const seen = { first: null, last: null, pieces: 0, tokens: null, finish: null };
  const body = { model, messages, ...options, stream: true, stream_options: { include_usage: true } };
  try {
    const response = await request("/v1/chat/completions", { json: body, signal });
    await follow(response.body, (event) => note(event, seen, onText, onModel));
    return { finish: seen.finish ?? "stop", stats: stats(seen, started) };
  } catch (error) {
    if (!signal.aborted) throw error;
    return { finish: "stopped", stats: stats(seen, started) };
  }
}

/** Calls `note` with each event's JSON until the server says [DONE]. */
async function follow(body, note) {
  try {
    for await (const event of events(body)) {
      if (event === "[DONE]") return;
      note(JSON.parse(event));
    }
  } catch (error) {
    if (error instanceof HttpError || error.name === "AbortError") throw error;
  }
  throw new HttpError(0, t("chat.cut")); // it ended without saying so
}

function note(chunk, seen, onText, onModel) {
  if (chunk.error) throw toldError(500, chunk.error);
  if (chunk.model) onModel(chunk.model, chunk.system_fingerprint ?? null);
  if (chunk.usage) seen.tokens = chunk.usage.completion_tokens;
  const choice = chunk.choices?.[0];
  if (choice?.finish_reason) seen.finish = choice.finish_reason;
  const text = choice?.delta?.content;
  if (!text) return;
  seen.last = performance.now();
  seen.first ??= seen.last;
  seen.pieces += 1;
  onText(text);
}

function stats({ first, last, pieces, tokens }, started) {
  const counted = tokens ?? pieces;
  // What came in one burst tells nothing of the pace between its tokens: it is reckoned from the question on.
  const [since, among] = last - first < BURST ? [started, counted] : [first, counted - 1];
  return {
    first: first === null ? null : (first - started) / 1000,
    rate: first !== null && among > 0 ? among / ((last - since) / 1000) : null,
    tokens: counted,
  };
}

/** The data of each event; comments and other fields are skipped. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.map((found) => found.replace(/\r$/, ""))) {
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      else if (line === "" && data.length > 0) {
        yield data.join("\n");
        data = [];
      }
    }
  }
}
