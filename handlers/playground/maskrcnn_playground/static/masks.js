// Masks of instances, pasted as the server pastes them: maskrcnn_server/masks.py. Knows no page.

/**
 * A soft mask over a box: side x side probabilities 0 to 255, row by row; box is x1, y1, x2, y2.
 * A pixel belongs to it where the probability at its centre is the threshold (0 to 1) or more:
 * sampled bilinearly, with one mask pixel of zeros on each side.
 */
export class SoftMask {
  constructor(box, side, probabilities) {
    this.box = box;
    this.side = side;
    this.probabilities = probabilities;
  }

  /** The rectangle x1, y1, x2, y2 outside of which there is nothing. */
  get extent() {
    const [x1, y1, x2, y2] = this.box;
    const dx = (x2 - x1) / this.side;
    const dy = (y2 - y1) / this.side;
    return [x1 - dx, y1 - dy, x2 + dx, y2 + dy];
  }

  /**
   * A function (y, out) that writes whether the points (xs[i], y) belong to the mask: 1 or 0. The
   * xs ascend; coordinates are the image's, where the first pixel's centre is (0.5, 0.5).
   */
  sampler(xs, threshold) {
    const { side, probabilities } = this;
    const [x1, y1, x2, y2] = this.box;
    const [dx, dy] = [(x2 - x1) / side, (y2 - y1) / side];
    if (!(dx > 0 && dy > 0)) return (_, out) => out.fill(0);
    const least = threshold * 255;
    // In samples: 0 and side + 1 are the zeros around the mask, and nothing is beyond them.
    const places = Float64Array.from(xs, (x) => (x - x1) / dx + 0.5);
    const starts = Int32Array.from({ length: side + 2 }, (_, k) => {
      const start = places.findIndex((place) => place >= k);
      return start < 0 ? places.length : start;
    });
    const line = new Float64Array(side + 2);
    return (y, out) => {
      out.fill(0);
      const down = (y - y1) / dy - 0.5;
      if (!(down > -1 && down < side)) return;
      const j = Math.floor(down);
      const above = j >= 0 ? 1 - down + j : 0;
      const below = j + 1 < side ? down - j : 0;
      const first = Math.max(j, 0) * side;
      const second = Math.min(j + 1, side - 1) * side;
      for (let k = 0; k < side; k++) {
        line[k + 1] = above * probabilities[first + k] + below * probabilities[second + k];
      }
      for (let k = 0; k <= side; k++) {
        const [left, right] = [line[k], line[k + 1]];
        if (left >= least && right >= least) {
          out.fill(1, starts[k], starts[k + 1]);
        } else if (left >= least || right >= least) {
          for (let i = starts[k]; i < starts[k + 1]; i++) {
            if (left + (places[i] - k) * (right - left) >= least) out[i] = 1;
          }
        }
      }
    };
  }
}

/** A finished mask: run lengths row by row, beginning with 0s; size is height, width. */
export class RunMask {
  constructor(counts, [height, width]) {
    this.height = height;
    this.width = width;
    this.edges = new Int32Array(counts.length);
    let end = 0;
    for (let i = 0; i < counts.length; i++) {
      end += counts[i];
      this.edges[i] = end;
    }
    this.extent = this._extent();
  }

  /** As a soft mask's, for ascending xs and whatever threshold. */
  sampler(xs) {
    const { edges, width, height } = this;
    const columns = Int32Array.from(xs, Math.floor);
    return (y, out) => {
      const line = Math.floor(y);
      out.fill(0);
      if (line < 0 || line >= height) return;
      let run = this._runAt(line * width);
      for (let i = 0; i < columns.length; i++) {
        if (columns[i] < 0 || columns[i] >= width) continue;
        while (edges[run] <= line * width + columns[i]) run++;
        out[i] = run % 2;
      }
    };
  }

  /** The number of the run that a position in the whole mask is in. */
  _runAt(position) {
    let low = 0;
    let high = this.edges.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.edges[middle] > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  _extent() {
    const { edges, width } = this;
    let [left, right] = [width, 0];
    for (let i = 1; i < edges.length; i += 2) {
      const [start, end] = [edges[i - 1], edges[i] - 1];
      const sameLine = Math.floor(start / width) === Math.floor(end / width);
      left = Math.min(left, sameLine ? start % width : 0);
      right = Math.max(right, sameLine ? (end % width) + 1 : width);
    }
    if (right === 0) return [0, 0, 0, 0];
    const last = edges[edges.length - 1 - (edges.length % 2)];
    return [left, Math.floor(edges[0] / width), right, Math.floor((last - 1) / width) + 1];
  }
}

/** The centres of pixels first, ..., last - 1. */
export function centres(first, last) {
  return Float64Array.from({ length: Math.max(0, last - first) }, (_, i) => first + i + 0.5);
}

/** Whether a point of the image belongs to a mask. */
export function contains(mask, x, y, threshold) {
  const out = new Uint8Array(1);
  mask.sampler([x], threshold)(y, out);
  return out[0] === 1;
}

/** How many pixels of an image of size (height, width) belong to a mask. */
export function area(mask, [height, width], threshold) {
  const [x1, y1, x2, y2] = mask.extent;
  const xs = centres(Math.max(0, Math.floor(x1)), Math.min(width, Math.ceil(x2)));
  const line = new Uint8Array(xs.length);
  const sample = mask.sampler(xs, threshold);
  let count = 0;
  for (let y = Math.max(0, Math.floor(y1)); y < Math.min(height, Math.ceil(y2)); y++) {
    sample(y + 0.5, line);
    for (let i = 0; i < line.length; i++) count += line[i];
  }
  return count;
}
