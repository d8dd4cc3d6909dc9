// The time line of a clip: a bar for each frame, as high as the number of its instances, and as
// wide as the frame is shown for.

import { $, element } from "./page.js";

const FAR = 10;

/** Calls `chosen(number)` when people go to a frame. */
export class Timeline {
  constructor(chosen) {
    this._chosen = chosen;
    $("seek").addEventListener("input", () => {
      const time = Number($("seek").value);
      chosen(Math.max(0, this._times.findLastIndex((start) => start <= time)));
    });
    $("seek").addEventListener("keydown", (event) => this._step(event));
  }

  /** Begin with frames of which nothing is known; `times` in seconds, and the `end` of the last. */
  open({ times, end }) {
    this._times = times;
    this._ends = [...times.slice(1), end];
    this._current = 0;
    this._digits = Math.min(...times.map((start, i) => this._ends[i] - start)) < 0.0999 ? 2 : 1;
    $("seek").max = end;
    const bars = times.map((start, i) => {
      const bar = element("span");
      bar.style.flexGrow = this._ends[i] - start;
      return bar;
    });
    $("bars").replaceChildren(...bars);
  }

  /** Draw the numbers of instances, undefined where a frame has no answer, and where the clip is. */
  draw(counts, current) {
    this._current = current;
    const most = Math.max(1, ...counts.map((count) => count ?? 0));
    counts.forEach((count, i) => {
      const bar = $("bars").children[i];
      bar.style.setProperty("--at", (count ?? 0) / most);
      bar.classList.toggle("waiting", count === undefined);
      bar.classList.toggle("current", i === current);
    });
    const [start, end] = [this._times[current], this._ends[current]];
    const value = Number($("seek").value);
    if (value < start || value >= end) $("seek").value = (start + end) / 2;
    const known = counts[current];
    const found = known === undefined ? "not known yet" : `${known} ${known === 1 ? "instance" : "instances"}`;
    const time = `${start.toFixed(this._digits)} s`;
    $("seek").setAttribute("aria-valuetext", `${time}, ${found}`);
    $("time").textContent = `${time} · ${found}`;
  }

  /** Mark the frames in which a track is seen, in its colour; none: nothing is marked. */
  mark(frames, colour) {
    [...$("bars").children].forEach((bar, i) => {
      bar.classList.toggle("seen", Boolean(frames?.has(i)));
      bar.style.setProperty("--colour", colour ?? "");
    });
  }

  /** Let arrows go from frame to frame, whatever their durations. */
  _step(event) {
    const last = this._times.length - 1;
    const places = {
      ArrowLeft: this._current - 1,
      ArrowDown: this._current - 1,
      ArrowRight: this._current + 1,
      ArrowUp: this._current + 1,
      PageDown: this._current - FAR,
      PageUp: this._current + FAR,
      Home: 0,
      End: last,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    this._chosen(Math.max(0, Math.min(last, places[event.key])));
  }
}
