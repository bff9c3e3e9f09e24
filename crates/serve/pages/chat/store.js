// Conversations in the browser's IndexedDB: nothing of them is kept by the server.

import { readConversation } from "./tree.js";

const NAME = "tolmach";
const TABLE = "conversations";

/** Opens the store. Where the browser refuses one (private windows), conversations live as long as the page. */
export async function openStore() {
  try {
    return new BrowserStore(await open());
  } catch {
    return new PageStore();
  }
}

function open() {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: "id" });
  return settled(opening);
}

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

class BrowserStore {
  constructor(database) {
    this.database = database;
    this.lasting = true;
  }

  table(mode) {
    return this.database.transaction(TABLE, mode).objectStore(TABLE);
  }

  async all() {
    const found = await settled(this.table("readonly").getAll());
    return found.map(readConversation).filter(Boolean);
  }

  put(conversation) {
    return settled(this.table("readwrite").put(JSON.parse(JSON.stringify(conversation))));
  }

  remove(id) {
    return settled(this.table("readwrite").delete(id));
  }
}

class PageStore {
  lasting = false;
  kept = new Map();

  async all() {
    return [...this.kept.values()];
  }

  async put(conversation) {
    this.kept.set(conversation.id, conversation);
  }

  async remove(id) {
    this.kept.delete(id);
  }
}
