// The time line of a clip: a bar for each frame, as high as the number of its instances.

import { $, element } from "./page.js";

/** Calls `chosen(number)` when people go to a frame. */
export class Timeline {
  constructor(chosen) {
    $("seek").addEventListener("input", () => chosen(Number($("seek").value)));
  }

  /** Begin with so many frames, of which nothing is known. */
  open(count) {
    $("seek").max = count - 1;
    $("bars").replaceChildren(...Array.from({ length: count }, () => element("span")));
  }

  /** Draw the numbers of instances, undefined where a frame has no answer, and where the clip is. */
  draw(counts, current, rate) {
    const most = Math.max(1, ...counts.map((count) => count ?? 0));
    counts.forEach((count, i) => {
      const bar = $("bars").children[i];
      bar.style.setProperty("--at", (count ?? 0) / most);
      bar.classList.toggle("waiting", count === undefined);
      bar.classList.toggle("current", i === current);
    });
    if (document.activeElement !== $("seek") || Number($("seek").value) !== current) {
      $("seek").value = current;
    }
    const known = counts[current];
    const found = known === undefined ? "not known yet" : `${known} ${known === 1 ? "instance" : "instances"}`;
    const time = `${(current / rate).toFixed(1)} s`;
    $("seek").setAttribute("aria-valuetext", `${time}, ${found}`);
    $("time").textContent = `${time} · ${found}`;
  }
}
