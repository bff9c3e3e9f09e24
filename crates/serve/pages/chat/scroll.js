// Follows a growing conversation while the reader is at its end, and leaves a reader who scrolled up alone.

import { byId } from "../shell/dom.js";

/** Pixels from the end that still count as being there. */
const NEAR = 48;

export class Follower {
  constructor() {
    this.scroller = byId("scroller");
    this.jump = byId("jump");
    this.following = true;
    this.top = 0;
    this.scroller.addEventListener("scroll", () => this.look(), { passive: true });
    this.jump.addEventListener("click", () => this.toEnd());
    const grown = new ResizeObserver(() => this.following && this.toEnd());
    grown.observe(byId("turns"));
    grown.observe(this.scroller);
  }

  /** Only moving up ends it: text that grew meanwhile does not. */
  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const left = scrollHeight - scrollTop - clientHeight;
    if (left < NEAR) this.following = true;
    else if (scrollTop < this.top) this.following = false;
    this.top = scrollTop;
    this.jump.hidden = this.following;
  }

  toStart() {
    this.scroller.scrollTop = 0;
    this.following = false;
    this.jump.hidden = true;
  }

  toEnd() {
    this.following = true;
    this.jump.hidden = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.top = this.scroller.scrollTop;
  }
}
