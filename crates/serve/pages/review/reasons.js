// Why a translation was set aside: the server sends the check with its figures, and the page says it in its language.

import { language } from "../shell/i18n.js";

const list = (parts) => (parts.length > 0 ? parts.join(", ") : "–");

/** By check of `tolmach translate` (verify/finding.rs), the text's key and its values. */
const CHECKS = {
  empty: () => ["review.why.empty"],
  line_break: () => ["review.why.line_break"],
  protected: ({ part, expected, found }) => ["review.why.protected", { part, expected, found }],
  digits: ({ missing, added }) => ["review.why.digits", { missing: list(missing), added: list(added) }],
  untranslated: () => ["review.why.untranslated"],
  partly_untranslated: ({ kept, words }) => ["review.why.partly", { kept, words }],
  foreign: ({ word }) => ["review.why.foreign", { word }],
  wrong_language: ({ found, code }) => ["review.why.language", { language: languageName(code) ?? found }],
  length: ({ source, target }) => [target < source ? "review.why.short" : "review.why.long", { source, target }],
  sentences: ({ source, target }) => ["review.why.sentences", { source, target }],
  torn: () => ["review.why.torn"],
  loop: ({ repeated, times }) => ["review.why.loop", { repeated, times }],
  mark: ({ mark }) => ["review.why.mark", { mark }],
  gloss: ({ text }) => ["review.why.gloss", { text }],
  unrelated: () => ["review.why.unrelated"],
  skeleton: ({ field }) => ["review.why.skeleton", { field }],
};

const MISSES = {
  not_in_memory: "review.miss.memory",
  empty: "review.why.empty",
  refused: "review.miss.refused",
  failed: "review.miss.failed",
  garbled: "review.miss.garbled",
};

/** What `el` takes for the reason: a key and its values, or null where only the English `reason` tells it. */
export function reasonOf(why) {
  try {
    if (Object.hasOwn(CHECKS, why?.check)) return CHECKS[why.check](why);
    if (Object.hasOwn(MISSES, why?.miss)) return [MISSES[why.miss], { message: why.message ?? "" }];
  } catch {
    // A file that somebody has written otherwise.
  }
  return null;
}

/** The very spots that failed: texts in the source, and in what the engine said. */
export function spotsOf(why) {
  const texts = (found) => (Array.isArray(found) ? found : [found]).filter((part) => typeof part === "string");
  switch (why?.check) {
    case "digits":
      return { source: texts(why.missing), target: texts(why.added) };
    case "protected":
      return { source: texts(why.part), target: texts(why.part) };
    case "foreign":
      return { source: [], target: texts(why.word) };
    case "loop":
      return { source: [], target: texts(why.repeated) };
    case "mark":
      return { source: [], target: texts(why.mark) };
    case "gloss":
      return { source: [], target: texts(why.text) };
    default:
      return { source: [], target: [] };
  }
}

function languageName(code) {
  try {
    return new Intl.DisplayNames(language(), { type: "language" }).of(code);
  } catch {
    return null;
  }
}
