// An outline whose points people move: with the pointer, or with the keyboard.

import { middles } from "./marks.js";

const NEAR = { mouse: 10, pen: 14, touch: 24 };
const MIN_POINTS = 3;

/** The rings of an outline, [[x, y], ...] each, in an image of size (height, width). */
export class Shaping {
  constructor(rings, [height, width]) {
    this.rings = rings;
    this.active = null;
    this.isChanged = false;
    this._limits = [width, height];
  }

  /**
   * Take hold of the point at a place of the screen; the middle of an edge becomes a point. False
   * if there is none. `place` turns the image's coordinates into the screen's.
   */
  grab([x, y], place, kind) {
    const near = NEAR[kind] ?? NEAR.mouse;
    let best = null;
    const offer = ([u, v], found) => {
      const distance = Math.hypot(u - x, v - y);
      if (distance <= near && (!best || distance < best.distance)) best = { distance, found };
    };
    const shown = this.rings.map((ring) => ring.map(place));
    shown.forEach((ring, r) => ring.forEach((point, i) => offer(point, [r, i])));
    if (!best) {
      shown.forEach((ring, r) => {
        for (const [i, middle] of middles(ring)) offer(middle, [r, i, "new"]);
      });
    }
    if (!best) return false;
    const [r, i, isNew] = best.found;
    if (isNew) this._insert(r, i);
    this.active = [r, isNew ? i + 1 : i];
    return true;
  }

  /** Put the active point somewhere else in the image. */
  move([x, y]) {
    if (!this.active) return;
    const [r, i] = this.active;
    const [width, height] = this._limits;
    const put = [Math.max(0, Math.min(width, x)), Math.max(0, Math.min(height, y))];
    this.rings[r] = this.rings[r].with(i, put);
    this.isChanged = true;
  }

  /** Move the active point by pixels of the image. */
  nudge(dx, dy) {
    if (!this.active) this.step(1);
    const [x, y] = this.rings[this.active[0]][this.active[1]];
    this.move([x + dx, y + dy]);
  }

  /** Make the next point the active one, or the one before. */
  step(by) {
    const all = this.rings.flatMap((ring, r) => ring.map((_, i) => [r, i]));
    const at = all.findIndex(([r, i]) => r === this.active?.[0] && i === this.active[1]);
    this.active = all[(at + by + all.length) % all.length] ?? all[0];
  }

  /** Take the active point away; a ring that would be none is taken away. False: it is the last. */
  removePoint() {
    if (!this.active) return false;
    const [r, i] = this.active;
    if (this.rings[r].length > MIN_POINTS) this.rings[r] = this.rings[r].toSpliced(i, 1);
    else if (this.rings.length > 1) this.rings.splice(r, 1);
    else return false;
    this.active = null;
    return (this.isChanged = true);
  }

  _insert(r, i) {
    const ring = this.rings[r];
    const [[x, y], [u, v]] = [ring[i], ring[(i + 1) % ring.length]];
    this.rings[r] = ring.toSpliced(i + 1, 0, [(x + u) / 2, (y + v) / 2]);
  }
}
