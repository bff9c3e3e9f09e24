// What a screen reader hears of a stream: whole sentences, a few seconds apart, not every token.

import { announce } from "../shell/shell.js";

const PAUSE = 2500;

export class Speech {
  constructor() {
    this.text = "";
    this.said = 0;
    this.timer = setInterval(() => this.say(/[.!?…:;]["»”)]?\s|\n/g), PAUSE);
  }

  /** The reply so far. */
  hear(text) {
    this.text = text;
  }

  /** Up to the last end of a sentence. */
  say(ends) {
    let end = 0;
    const fresh = this.text.slice(this.said);
    for (const found of fresh.matchAll(ends)) end = found.index + found[0].length;
    this.until(end);
  }

  until(length) {
    if (length === 0) return;
    announce(this.text.slice(this.said, this.said + length));
    this.said += length;
  }

  /** The rest, or `instead`. */
  end(instead = null) {
    clearInterval(this.timer);
    if (instead) announce(instead);
    else this.until(this.text.length - this.said);
  }
}
