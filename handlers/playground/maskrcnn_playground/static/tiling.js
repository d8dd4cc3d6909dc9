// Whether a picture is cut into tiles: as people choose, or because it is large.

import { $ } from "./page.js";

const OVERLAP = 0.25;
const AUTOMATIC = 1024;
const LARGE_PIXELS = 24e6;
const SMALL_BYTES = 2 ** 18;

/** The choice; `changed` is called after a change, which it may refuse by returning false. */
export class Tiling {
  constructor(changed) {
    let before = $("tile").value;
    $("tile").addEventListener("change", ({ target }) => {
      if (changed() === false) target.value = before;
      before = target.value;
    });
  }

  /** Offer tiles, if the server sends them as they are done. */
  offer(streams) {
    $("tiling").hidden = !streams;
  }

  /** Whether the size of a picture counts. */
  needsSize({ file }) {
    return !$("tiling").hidden && $("tile").value === "auto" && file.size > SMALL_BYTES;
  }

  /** Options of a request for a picture, of these pixels if they are known; none: it is not cut. */
  options(bitmap) {
    const chosen = $("tiling").hidden ? "whole" : $("tile").value;
    const isLarge = bitmap && bitmap.width * bitmap.height > LARGE_PIXELS;
    if (chosen === "whole" || (chosen === "auto" && !isLarge)) return {};
    return { tile: chosen === "auto" ? AUTOMATIC : Number(chosen), overlap: OVERLAP, overview: true };
  }
}

/** Show how many tiles are done; null: there are none to wait for. */
export function progress(done, of) {
  $("progress").hidden = done === null;
  if (done === null) return;
  $("progress").max = of;
  $("progress").value = done;
}
