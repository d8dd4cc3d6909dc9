// Which instances two models both find in a picture, and which only one of them. Knows no page.

const MIN_IOU = 0.5;
const MAX_SAMPLES = 128;
const APART = 1e6;

/** Intersections over unions of masks at a threshold, each computed once. */
export class Overlaps {
  constructor() {
    this._threshold = null;
  }

  /**
   * Of two instances in a picture of `size` (height, width), 0 to 1; of their boxes where one has
   * no mask. Large masks are sampled: 128 times across and down.
   */
  iou(one, other, size, threshold) {
    const [left, top, right, bottom] = shared(extent(one), extent(other));
    if (right <= left || bottom <= top) return 0;
    if (!one.mask || !other.mask) return boxIou(one.box, other.box);
    if (threshold !== this._threshold) this._known = new WeakMap();
    this._threshold = threshold;
    const known = this._known.get(one.mask) ?? new Map();
    this._known.set(one.mask, known);
    if (!known.has(other.mask)) {
      known.set(other.mask, maskIou(one.mask, other.mask, size, threshold));
    }
    return known.get(other.mask);
  }
}

/**
 * Instances of the left model, each with `kind` and, if the right one finds it too, `other` and
 * `iou`; then those of the right model alone, whose `index` no other has. Kinds: `both`, `class`
 * (another class), `left`, `right`. Instances with the largest `iou(one, other)` are matched first.
 */
export function differences(left, right, iou) {
  const pairs = left.flatMap((one) => right.map((other) => [one, other, iou(one, other)]));
  const partners = new Map();
  const taken = new Set();
  for (const [one, other, share] of pairs.sort((a, b) => b[2] - a[2])) {
    if (share < MIN_IOU) break;
    if (partners.has(one) || taken.has(other)) continue;
    partners.set(one, [other, share]);
    taken.add(other);
  }
  const found = left.map((one) => {
    const [other, share] = partners.get(one) ?? [];
    if (!other) return { ...one, kind: "left" };
    const kind = one.category === other.category ? "both" : "class";
    return { ...one, kind, other, iou: share };
  });
  const alone = right.filter((one) => !taken.has(one));
  return [...found, ...alone.map((one) => ({ ...one, kind: "right", index: APART + one.index }))];
}

function extent({ mask, box }) {
  return mask ? mask.extent : box;
}

function shared([x1, y1, x2, y2], [u1, v1, u2, v2]) {
  return [Math.max(x1, u1), Math.max(y1, v1), Math.min(x2, u2), Math.min(y2, v2)];
}

function boxIou(one, other) {
  const size = ([x1, y1, x2, y2]) => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
  const both = size(shared(one, other));
  return both / (size(one) + size(other) - both || 1);
}

function maskIou(one, other, [height, width], threshold) {
  const [x1, y1, x2, y2] = one.extent;
  const [u1, v1, u2, v2] = other.extent;
  const xs = places(Math.min(x1, u1), Math.max(x2, u2), width);
  const ys = places(Math.min(y1, v1), Math.max(y2, v2), height);
  const samplers = [one, other].map((mask) => mask.sampler(xs, threshold));
  const lines = samplers.map(() => new Uint8Array(xs.length));
  let [both, any] = [0, 0];
  for (const y of ys) {
    samplers.forEach((sample, k) => sample(y, lines[k]));
    for (let i = 0; i < xs.length; i++) {
      both += lines[0][i] & lines[1][i];
      any += lines[0][i] | lines[1][i];
    }
  }
  return any ? both / any : 0;
}

/** Evenly spaced places within an image's side: the centres of pixels, if they are not too many. */
function places(start, end, side) {
  const [first, last] = [Math.max(0, Math.floor(start)), Math.min(side, Math.ceil(end))];
  const step = Math.max(1, (last - first) / MAX_SAMPLES);
  const count = Math.max(0, Math.round((last - first) / step));
  return Float64Array.from({ length: count }, (_, i) => first + step * (i + 0.5));
}
