// Clips: their frames are asked about one after the other, and what is found is drawn over them.

import { frame, load, MAX_FRAMES, MAX_SIDE, plan, time, unload } from "./frames.js";
import { $ } from "./page.js";
import * as server from "./server.js";
import { Timeline } from "./timeline.js";

const AT_ONCE = 3;
const BUSY_MS = 500;

/** Whether a file is a clip. */
export const isClip = (file) => file.type.startsWith("video/");

/**
 * The clip that is shown. `page` has `began(video, size)`, `changed()` when another frame or answer
 * is there, `redraw()` when the clip moves within a frame, `tell(text, working)`, `failed(error)`,
 * `model()` and `options()`. A clip's picture keeps its `plan` and, by number, its `answers`.
 */
export class Clips {
  constructor(page) {
    this._page = page;
    this._picture = null;
    this._asked = null;
    this._shown = -1;
    this._timeline = new Timeline((number) => this.seek(number));
    $("play").addEventListener("click", () => this.toggle());
    for (const name of ["play", "pause", "ended"]) {
      $("video").addEventListener(name, () => this._played());
    }
    $("video").addEventListener("seeked", () => this._moved());
  }

  /** Show a clip's first frame, and ask about those that are not known yet. */
  async look(picture) {
    this.leave();
    const { signal } = (this._asked = new AbortController());
    const [video, reader] = [$("video"), document.createElement("video")];
    Object.assign(reader, { muted: true, playsInline: true });
    try {
      await Promise.all([load(video, picture.file), load(reader, picture.file)]);
      if (signal.aborted) return;
      picture.plan ??= plan(video);
      picture.answers ??= [];
      this._picture = picture;
      $("clip").hidden = false;
      this._page.began(video, picture.plan.size);
      this._describe();
      this._timeline.open(picture.plan.count);
      this._moved();
      await this._ask(picture, reader, signal);
    } catch (error) {
      if (!signal.aborted) this._page.failed(error);
    } finally {
      unload(reader);
    }
  }

  /** Show no clip, and ask no more about it. */
  leave() {
    this._asked?.abort();
    $("clip").hidden = true;
    $("video").pause();
    if ($("video").hasAttribute("src")) unload($("video"));
    this._picture = null;
    this._shown = -1;
  }

  /** Play or pause; false: there is no clip. */
  toggle() {
    if (!this._picture) return false;
    if ($("video").paused) $("video").play();
    else $("video").pause();
    return true;
  }

  /** Go to a frame. */
  seek(number) {
    if (!this._picture) return;
    $("video").currentTime = time($("video"), number, this._picture.plan.rate);
  }

  /** Draw the time line, with what `count(answer)` says of each frame. */
  draw(count) {
    if (!this._picture) return;
    const { plan: { count: total, rate }, answers } = this._picture;
    const counts = Array.from({ length: total }, (_, i) => answers[i] && count(answers[i]));
    this._timeline.draw(counts, this._number, rate);
  }

  get _number() {
    const { count, rate } = this._picture.plan;
    return Math.min(count - 1, Math.round($("video").currentTime * rate));
  }

  /** Ask about the frames, in order, several at a time. */
  async _ask(picture, reader, signal) {
    const under = new Set();
    for (let number = 0; number < picture.plan.count && !signal.aborted; number++) {
      if (picture.answers[number]) continue;
      const file = await frame(reader, number, picture.plan);
      if (signal.aborted) break;
      const one = this._answer(picture, number, file, signal).finally(() => under.delete(one));
      under.add(one);
      if (under.size >= AT_ONCE) await Promise.race(under);
    }
    await Promise.all(under);
    if (!signal.aborted) this._page.tell("");
  }

  async _answer(picture, number, file, signal) {
    for (;;) {
      try {
        const reply = await server.ask(file, this._page.model(), this._page.options(), signal);
        if (signal.aborted) return;
        picture.answers[number] = server.parsed(reply.bytes);
        break;
      } catch (error) {
        if (signal.aborted) return;
        if (error.code !== "queue_full") throw error;
        await new Promise((go) => setTimeout(go, BUSY_MS));
      }
    }
    const done = Object.keys(picture.answers).length;
    this._page.tell(`${done} of ${picture.plan.count} frames`, true);
    if (this._picture === picture) this._change();
  }

  _describe() {
    const { count, rate, size: [height, width] } = this._picture.plan;
    const often = `${Math.round(10 * rate) / 10} a second`;
    $("clip-said").textContent =
      `${count} frames are looked at, ${often}, as ${width} × ${height} pixels; ` +
      `at most ${MAX_FRAMES} of ${MAX_SIDE} pixels.`;
  }

  _played() {
    const { paused } = $("video");
    $("play").textContent = paused ? "Play" : "Pause";
    if (paused) this._moved();
    else this._follow();
  }

  /** While it plays, draw each of the screen's frames. */
  _follow() {
    if (!this._picture || $("video").paused) return;
    this._moved();
    requestAnimationFrame(() => this._follow());
  }

  _moved() {
    if (!this._picture) return;
    if (this._number === this._shown) this._page.redraw();
    else this._change();
  }

  _change() {
    this._shown = this._number;
    this._picture.part = this._picture.answers[this._shown] ?? null;
    this._page.changed();
  }
}
