// Masks as run lengths and as outlines, and back. Knows no page.

import { RunMask, centres } from "./masks.js";

const FINEST = 1;
const SHARE = 1 / 150;
const MIN_AREA = 4;

/** Run lengths of a mask row by row, beginning with 0s, in an image of size (height, width). */
export function runs(mask, [height, width], threshold) {
  const { left, top, right, bottom } = window_(mask, [height, width]);
  const sample = mask.sampler(centres(left, right), threshold);
  const line = new Uint8Array(Math.max(0, right - left));
  const isWhole = left === 0 && right === width;
  const counts = [];
  let [value, start] = [0, 0];
  const change = (position) => {
    counts.push(position - start);
    start = position;
    value = 1 - value;
  };
  for (let y = top; y < bottom; y++) {
    sample(y + 0.5, line);
    for (let i = 0; i < line.length; i++) if (line[i] !== value) change(y * width + left + i);
    if (value === 1 && !isWhole) change(y * width + right);
  }
  counts.push(height * width - start);
  return counts;
}

/**
 * The outline of a mask: rings of points [x, y], without the last point again. Holes are rings of
 * their own. Small wiggles are left out.
 */
export function outline(mask, size, threshold) {
  const { left, top, right, bottom } = window_(mask, size);
  const [columns, rows] = [right - left, bottom - top];
  if (columns <= 0 || rows <= 0) return [];
  // One pixel of nothing around it.
  const wide = columns + 2;
  const bits = new Uint8Array(wide * (rows + 2));
  const sample = mask.sampler(centres(left, right), threshold);
  for (let j = 0; j < rows; j++) {
    const start = (j + 1) * wide + 1;
    sample(top + j + 0.5, bits.subarray(start, start + columns));
  }
  const tolerance = Math.max(FINEST, Math.max(columns, rows) * SHARE);
  const rings = traced(bits, wide)
    .map((ring) => simplified(ring, tolerance))
    .filter((ring) => ring.length > 2 && Math.abs(signedArea(ring)) >= MIN_AREA);
  return rings.map((ring) => ring.map(([x, y]) => [x - 1 + left, y - 1 + top]));
}

/** The mask of what is inside an odd number of rings, at the centres of pixels. */
export function filled(rings, [height, width]) {
  const counts = [];
  let end = 0;
  const add = (from, to) => {
    if (to <= from) return;
    if (from === end && counts.length) counts[counts.length - 1] += to - from;
    else counts.push(from - end, to - from);
    end = to;
  };
  for (let row = 0; row < height; row++) {
    const y = row + 0.5;
    const crossings = rings.flatMap((ring) => crossed(ring, y)).sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const [from, to] = crossings.slice(i, i + 2).map((x) => Math.ceil(x - 0.5));
      add(row * width + clamp(from, width), row * width + clamp(to, width));
    }
  }
  counts.push(height * width - end);
  return new RunMask(counts, [height, width]);
}

/** The box x1, y1, x2, y2 around rings, within an image of size (height, width). */
export function boxAround(rings, [height, width]) {
  const points = rings.flat();
  const [xs, ys] = [0, 1].map((k) => points.map((point) => point[k]));
  return [
    clamp(Math.min(...xs), width), clamp(Math.min(...ys), height),
    clamp(Math.max(...xs), width), clamp(Math.max(...ys), height),
  ];
}

function window_(mask, [height, width]) {
  const [x1, y1, x2, y2] = mask.extent;
  return {
    left: Math.max(0, Math.floor(x1)),
    top: Math.max(0, Math.floor(y1)),
    right: Math.min(width, Math.ceil(x2)),
    bottom: Math.min(height, Math.ceil(y2)),
  };
}

function clamp(value, most) {
  return Math.max(0, Math.min(most, value));
}

function crossed(ring, y) {
  const found = [];
  for (let i = 0; i < ring.length; i++) {
    const [[x1, y1], [x2, y2]] = [ring[i], ring[(i + 1) % ring.length]];
    if (y1 <= y !== y2 <= y) found.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
  }
  return found;
}

/** Rings along the edges of pixels, the inside on the right; corners alone. */
function traced(bits, wide) {
  // From a corner, by its number: the steps that go on from there.
  const steps = [1, wide, -1, -wide];
  const leaving = new Map();
  const add = (corner, way) => {
    const ways = leaving.get(corner);
    if (ways) ways.push(way);
    else leaving.set(corner, [way]);
  };
  for (let at = wide; at < bits.length; at++) {
    const [here, above, before] = [bits[at], bits[at - wide], bits[at - 1]];
    if (here !== above) add(here ? at : at + 1, here ? 0 : 2);
    if (here !== before) add(here ? at + wide : at, here ? 3 : 1);
  }
  const rings = [];
  for (const [start, ways] of leaving) {
    while (ways.length) {
      const ring = [];
      let [corner, way] = [start, ways.pop()];
      let last = null;
      do {
        if (way !== last) ring.push([corner % wide, Math.floor(corner / wide)]);
        last = way;
        corner += steps[way];
        way = turned(leaving.get(corner), way);
      } while (way !== undefined);
      rings.push(ring);
    }
  }
  return rings;
}

/** Take the step that turns to the right of a way, where there are two: pixels meet by edges. */
function turned(ways, way) {
  if (!ways?.length) return undefined;
  const right = ways.indexOf((way + 1) % 4);
  return ways.splice(right >= 0 ? right : 0, 1)[0];
}

/** Douglas and Peucker (1973), on a ring: split at its first point and the one farthest from it. */
function simplified(ring, tolerance) {
  if (ring.length < 4) return ring;
  const [x, y] = ring[0];
  const away = ring.map(([u, v]) => Math.hypot(u - x, v - y));
  const far = away.indexOf(Math.max(...away));
  const halves = [ring.slice(0, far + 1), [...ring.slice(far), ring[0]]];
  return halves.flatMap((half) => kept(half, tolerance).slice(0, -1));
}

function kept(line, tolerance) {
  const [[x1, y1], [x2, y2]] = [line[0], line[line.length - 1]];
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  let [worst, at] = [0, 0];
  for (let i = 1; i < line.length - 1; i++) {
    const [x, y] = line[i];
    const off = Math.abs((x2 - x1) * (y1 - y) - (x1 - x) * (y2 - y1)) / length;
    if (off > worst) [worst, at] = [off, i];
  }
  if (worst <= tolerance) return [line[0], line[line.length - 1]];
  const [first, second] = [line.slice(0, at + 1), line.slice(at)];
  return [...kept(first, tolerance).slice(0, -1), ...kept(second, tolerance)];
}

function signedArea(ring) {
  return ring.reduce((sum, [x, y], i) => {
    const [u, v] = ring[(i + 1) % ring.length];
    return sum + (x * v - u * y) / 2;
  }, 0);
}
