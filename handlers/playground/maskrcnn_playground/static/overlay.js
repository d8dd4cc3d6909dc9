// Masks as colours, at the resolution of the screen: never an image-sized bitmap for each of them.

const GOLDEN_ANGLE = 0.381966;
const WHOLE_PIXELS = 8;
const PLAIN = { fill: 1, edge: 235, over: 2 };
const DIMMED = { fill: 0.3, edge: 90, over: 2 };
const MARKED = { fill: 1.4, edge: 255, over: Infinity };

/** Of an instance, by its number: the colours of the server's own pictures (pictures.py). */
export function colour(index) {
  const hue = 6 * ((index * GOLDEN_ANGLE) % 1);
  const channel = (n) => {
    const k = (n + hue) % 6;
    return Math.round(255 * 0.95 * (1 - 0.85 * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

/** The same for CSS. */
export function css([red, green, blue], opacity = 1) {
  return `rgb(${red} ${green} ${blue} / ${opacity})`;
}

/** Black or white, whichever is easier to read on a colour. */
export function ink([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff";
}

/**
 * Paint the masks of `instances`, best first, the best on top, into an ImageData of the screen's
 * pixels. `place` says where the image lies in it: pixel = x * scale + left, y * scale + top.
 * `marked`, an instance's number or null, stands out; `opacity`, 0 to 1, is the others'. From eight screen pixels for each of the
 * image's on, the image's own pixels show.
 */
export function paint(instances, { scale, left, top }, [height, width], options, target) {
  const { threshold, marked, opacity, line } = options;
  const painted = ({ fill, ...style }) => ({ ...style, fill: Math.min(255, 255 * opacity * fill) });
  const ordered = instances.filter((one) => one.mask && one.index !== marked).reverse();
  ordered.push(...instances.filter((one) => one.mask && one.index === marked));
  for (const { index, mask, colour: own } of ordered) {
    const [x1, y1, x2, y2] = mask.extent;
    const window = {
      left: Math.max(-line, Math.floor(left + scale * Math.max(0, x1))),
      top: Math.max(-line, Math.floor(top + scale * Math.max(0, y1))),
      right: Math.min(target.width + line, Math.ceil(left + scale * Math.min(width, x2))),
      bottom: Math.min(target.height + line, Math.ceil(top + scale * Math.min(height, y2))),
    };
    if (window.right <= window.left || window.bottom <= window.top) continue;
    const bits = sampled(mask, window, { scale, left, top }, threshold);
    const style = index === marked ? MARKED : marked === null ? PLAIN : DIMMED;
    blend(bits, window, line, own, painted(style), target);
  }
}

function sampled(mask, window, { scale, left, top }, threshold) {
  const place = (pixel, start) => {
    const at = (pixel + 0.5 - start) / scale;
    return scale >= WHOLE_PIXELS ? Math.floor(at) + 0.5 : at;
  };
  const columns = window.right - window.left;
  const rows = window.bottom - window.top;
  const xs = Float64Array.from({ length: columns }, (_, i) => place(window.left + i, left));
  const sample = mask.sampler(xs, threshold);
  const bits = new Uint8Array(columns * rows);
  for (let j = 0; j < rows; j++) {
    sample(place(window.top + j, top), bits.subarray(j * columns, (j + 1) * columns));
  }
  return bits;
}

function blend(bits, window, line, [red, green, blue], { fill, edge, over }, target) {
  const { width, height, data } = target;
  const columns = window.right - window.left;
  const rows = window.bottom - window.top;
  const lower = line * columns;
  for (let j = Math.max(0, -window.top); j < Math.min(rows, height - window.top); j++) {
    const middle = j >= line && j + line < rows;
    for (let i = Math.max(0, -window.left); i < Math.min(columns, width - window.left); i++) {
      const at = j * columns + i;
      if (bits[at] === 0) continue;
      const inner =
        middle && i >= line && i + line < columns &&
        (bits[at - line] & bits[at + line] & bits[at - lower] & bits[at + lower]) === 1;
      const alpha = inner ? fill : edge;
      const pixel = 4 * ((window.top + j) * width + window.left + i);
      const beneath = data[pixel + 3];
      if (beneath === 0 || over === Infinity) {
        data[pixel] = red;
        data[pixel + 1] = green;
        data[pixel + 2] = blue;
        data[pixel + 3] = alpha;
      } else {
        const part = beneath / (beneath + over * alpha);
        data[pixel] = red + part * (data[pixel] - red);
        data[pixel + 1] = green + part * (data[pixel + 1] - green);
        data[pixel + 2] = blue + part * (data[pixel + 2] - blue);
        data[pixel + 3] = beneath < alpha ? alpha : beneath;
      }
    }
  }
}
