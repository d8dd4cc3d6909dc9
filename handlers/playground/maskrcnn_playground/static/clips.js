// Clips: their frames are asked about one after the other, and what is found is drawn over them.

import { Animation } from "./animation.js";
import { Film, MAX_FRAMES, MAX_SIDE } from "./film.js";
import { $ } from "./page.js";
import * as server from "./server.js";
import { Timeline } from "./timeline.js";
import { Following } from "./tracks.js";

const AT_ONCE = 3;
const BUSY_MS = 500;

/** Whether a file is a video. */
export const isFilm = (file) => file.type.startsWith("video/");

/**
 * The clip that is shown. `page` has `began(drawable, size)`, `changed()` when another frame or
 * answer is there, `redraw()` when the clip moves within a frame, `tell(text, working)`,
 * `failed(error)`, `complain(error)`, `model()`, `options()`, `least()` and `follows()`, whether the
 * server follows instances. A clip's picture keeps its `plan`, its `answers` by number, and `tracks`.
 */
export class Clips {
  constructor(page) {
    this._page = page;
    this._picture = this._reel = this._asked = null;
    this._shown = -1;
    this._timeline = new Timeline((number) => this.seek(number));
    this._following = new Following({
      model: page.model,
      least: page.least,
      changed: () => this._picture && this._change(),
      failed: page.complain,
    });
    $("play").addEventListener("click", () => this.toggle());
    $("tracks").addEventListener("click", () => {
      $("tracks").setAttribute("aria-pressed", $("tracks").getAttribute("aria-pressed") !== "true");
      this._change();
    });
  }

  /** Show a clip's first frame, and ask about those that are not known yet. */
  async look(picture) {
    this.leave();
    const { signal } = (this._asked = new AbortController());
    const changed = () => this._moved();
    const reel = picture.isAnimated ? new Animation(changed) : new Film($("video"), changed);
    signal.addEventListener("abort", () => reel.close());
    try {
      await reel.open(picture.file);
      if (signal.aborted) return;
      picture.plan = reel.plan;
      picture.answers ??= [];
      [this._picture, this._reel] = [picture, reel];
      $("clip").hidden = false;
      this._page.began(reel.picture, reel.plan.size);
      this._describe();
      this._timeline.open(reel.plan);
      this._moved();
      await this._ask(picture, reel, signal);
    } catch (error) {
      if (signal.aborted) return;
      reel.close();
      this._page.failed(error);
    }
  }

  /** Show no clip, and ask no more about it. */
  leave() {
    this._asked?.abort();
    $("clip").hidden = true;
    this._picture = this._reel = null;
    this._shown = -1;
  }

  /** Play or pause; false: there is no clip. */
  toggle() {
    if (!this._reel) return false;
    if (this._reel.paused) this._reel.play();
    else this._reel.pause();
    return true;
  }

  /** Go to a frame. */
  seek(number) {
    this._reel?.seek(number);
  }

  /** The clip's tracks, if there are some and people want them; else null. */
  get tracks() {
    const isWanted = this._page.follows() && $("tracks").getAttribute("aria-pressed") === "true";
    return (isWanted && this._picture?.tracks) || null;
  }

  /** The instances of a frame, by default the one that is shown; with tracks, those of tracks. */
  instances(number = this._shown) {
    const answer = this._picture?.answers[number];
    if (!answer) return [];
    return this.tracks ? this.tracks.at(number, answer) : answer.instances;
  }

  /** What is listed: all tracks, or the instances of the frame that is shown. */
  get listed() {
    if (!this.tracks) return this.instances();
    return this.tracks.listed(this._shown, this._picture.answers[this._shown]);
  }

  /** Go to the nearest frame in which a track is seen. */
  reveal(number) {
    if (!this.tracks?.frames(number) || this.tracks.frames(number).has(this._shown)) return;
    this.seek(this.tracks.nearest(number, this._shown));
  }

  /** Mark in the time line where a track is seen, in a CSS colour; null: it is none. */
  mark(number, colour) {
    if (this._picture) this._timeline.mark(this.tracks?.frames(number), colour);
  }

  /** Draw the time line, with what `count(instances)` says of each frame. */
  draw(count) {
    if (!this._picture) return;
    const { plan, answers } = this._picture;
    const counts = plan.times.map((_, i) => answers[i] && count(this.instances(i)));
    this._timeline.draw(counts, this._reel.number);
    if (this._page.follows()) this._following.update(this._picture);
  }

  /** The tracks as a file in a format: {text, type}. */
  file(format, threshold, categoryIds) {
    return this._following.file(this._picture, format, threshold, categoryIds);
  }

  /** Ask about the frames, in order, several at a time. */
  async _ask(picture, reel, signal) {
    const under = new Set();
    for (let number = 0; number < picture.plan.count && !signal.aborted; number++) {
      if (picture.answers[number]) continue;
      const file = await reel.frame(number);
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
    const { count, rate, end, size: [height, width] } = this._picture.plan;
    const often = this._picture.isAnimated
      ? `in ${Math.round(10 * end) / 10} seconds`
      : `${Math.round(10 * rate) / 10} a second`;
    const missing = this._page.follows() ? "" : " Tracks need maskrcnn-playground[clips] on the server.";
    $("tracks").hidden = !this._page.follows();
    $("clip-said").textContent =
      `${count} frames are looked at, ${often}, as ${width} × ${height} pixels; ` +
      `at most ${MAX_FRAMES} of ${MAX_SIDE} pixels.${missing}`;
  }

  _moved() {
    if (!this._picture) return;
    $("play").textContent = this._reel.paused ? "Play" : "Pause";
    if (this._reel.number === this._shown) this._page.redraw();
    else this._change();
    if (this._reel.paused || this._next) return;
    // While it plays, draw each of the screen's frames.
    this._next = requestAnimationFrame(() => {
      this._next = null;
      this._moved();
    });
  }

  _change() {
    this._shown = this._reel.number;
    this._picture.part = this._picture.answers[this._shown] ?? null;
    this._page.changed();
  }
}
