// A conversation as data: what was asked, what was answered, and the branches that edits and new tries make.
//
//   conversation { id, title, created, updated, models: [id], turns: [turn], active: { place: turn id } }
//   turn         { id, place, prompt, columns: [column] }           one question
//   column       { asked, shown, versions: [reply] }                one side of it; a chat has one, a comparison many
//   reply        { id, asked, model, fingerprint, text, finish, error, stats, omitted }
//
// `place` is where a turn stands: the ids of the replies before it, joined by "+" ("" is the start). So an edited
// prompt is a second turn at the same place, and a second try at a reply starts its own branch below itself:
// showing the first try again shows what was said after it.
//
// `model` and `fingerprint` are what the server said has run; `asked` is only what was asked for. `omitted` counts the
// earlier messages that the model's context had no room for.

const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );

export function newConversation(models) {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, models, turns: [], active: {} };
}

export const newReply = (asked) => ({
  id: newId(),
  asked,
  model: null,
  fingerprint: null,
  text: "",
  finish: null,
  error: null,
  stats: null,
  omitted: 0,
});

export const shownReply = (column) => column.versions[column.shown];

const placeAfter = (turn) => turn.columns.map((column) => shownReply(column).id).join("+");

/** The turns that are alternatives to each other at `place`, oldest first. */
export const alternatives = (conversation, place) =>
  conversation.turns.filter((turn) => turn.place === place);

/** The turns on the branch that is shown, first to last. */
export function path(conversation) {
  const turns = [];
  for (let place = ""; ; place = placeAfter(turns.at(-1))) {
    const here = alternatives(conversation, place);
    if (here.length === 0) return turns;
    turns.push(here.find((turn) => turn.id === conversation.active[place]) ?? here.at(-1));
  }
}

/** Asks `prompt` of every model, at `place` (the end of what is shown, unless a prompt is edited). */
export function addTurn(conversation, prompt, models, place = null) {
  const last = path(conversation).at(-1);
  const turn = { id: newId(), place: place ?? (last ? placeAfter(last) : ""), prompt, columns: [] };
  turn.columns = models.map((asked) => ({ asked, shown: 0, versions: [newReply(asked)] }));
  conversation.turns.push(turn);
  conversation.active[turn.place] = turn.id;
  if (conversation.title === "") conversation.title = prompt.trim().replace(/\s+/g, " ").slice(0, 80);
  return turn;
}

/** As if `turn` had not been asked; what stands at its place is `before` again, if given. */
export function removeTurn(conversation, turn, before = null) {
  conversation.turns = conversation.turns.filter((other) => other.id !== turn.id);
  if (before) conversation.active[turn.place] = before.id;
  else delete conversation.active[turn.place];
}

/** Another try at one side. */
export function addVersion(column, asked) {
  column.versions.push(newReply(asked));
  column.shown = column.versions.length - 1;
  return shownReply(column);
}

/**
 * What one side of `turn` is sent. Earlier turns say what the same side said there; one that was not asked then
 * goes by the first side. What was never answered is left out.
 */
export function messages(conversation, turn, column, { system, memory }) {
  const sent = system ? [{ role: "system", content: system }] : [];
  for (const earlier of memory ? path(conversation) : []) {
    if (earlier.id === turn.id) break;
    const side = earlier.columns.find((other) => other.asked === column.asked) ?? earlier.columns[0];
    const said = shownReply(side).text;
    if (said.trim() === "") continue;
    sent.push({ role: "user", content: earlier.prompt }, { role: "assistant", content: said });
  }
  return [...sent, { role: "user", content: turn.prompt }];
}

/** Whether `query` is somewhere in it. */
export function mentions(conversation, query) {
  const wanted = query.toLocaleLowerCase();
  const found = (text) => text.toLocaleLowerCase().includes(wanted);
  return (
    found(conversation.title) ||
    conversation.turns.some(
      (turn) =>
        found(turn.prompt) ||
        turn.columns.some((column) => column.versions.some((reply) => found(reply.text))),
    )
  );
}

/** `value` as a conversation that this page can show, or null: files and other versions' stores are not trusted. */
export function readConversation(value) {
  const text = (found) => (typeof found === "string" ? found : null);
  const list = (found) => (Array.isArray(found) ? found : []);
  if (text(value?.id) === null || text(value?.title) === null || !Array.isArray(value?.turns)) return null;
  const reply = (found) => ({
    ...newReply(text(found?.asked) ?? ""),
    id: text(found?.id) ?? newId(),
    model: text(found?.model),
    fingerprint: text(found?.fingerprint),
    text: text(found?.text) ?? "",
    finish: text(found?.finish),
    error: text(found?.error),
    stats: stats(found?.stats),
    omitted: Number(found?.omitted) || 0,
  });
  const column = (found) => {
    const versions = list(found?.versions).map(reply);
    const shown = Number.isInteger(found?.shown) && versions[found.shown] ? found.shown : versions.length - 1;
    return { asked: text(found?.asked) ?? "", shown, versions };
  };
  const turn = (found) => ({
    id: text(found?.id) ?? newId(),
    place: text(found?.place) ?? "",
    prompt: text(found?.prompt) ?? "",
    columns: list(found?.columns)
      .map(column)
      .filter((side) => side.versions.length > 0),
  });
  const active = Object.entries(value.active ?? {}).filter(([, chosen]) => text(chosen) !== null);
  return {
    id: value.id,
    title: value.title,
    created: Number(value.created) || Date.now(),
    updated: Number(value.updated) || Date.now(),
    models: list(value.models).filter((model) => text(model) !== null),
    turns: value.turns.map(turn).filter((found) => found.columns.length > 0),
    active: Object.fromEntries(active),
  };
}

function stats(found) {
  const figure = (name) => (Number.isFinite(found?.[name]) ? found[name] : null);
  return found ? { first: figure("first"), rate: figure("rate"), tokens: figure("tokens") } : null;
}
