// Boxes, labels, and the points of an outline that is being edited: lines on a canvas.

import { css, ink } from "./overlay.js";

const LABEL = 40;
const LABEL_HEIGHT = 18;
const HALO = "rgb(0 0 0 / 45%)";
const POINT = 5;
const MIDDLE = 3;
const LONG = 36;

/** Boxes, the best on top. `place` turns the image's coordinates into the canvas's. */
export function boxes(context, place, { instances, marked }) {
  for (const one of [...instances].reverse()) {
    const { index, box: [x1, y1, x2, y2] } = one;
    const [left, top] = place([x1, y1]);
    const [right, bottom] = place([x2, y2]);
    const dimmed = marked !== null && marked !== index;
    const line = index === marked ? 2.5 : 1.5;
    context.setLineDash(one.wrong || one.dashed ? [6, 5] : []);
    for (const [style, width] of [[HALO, line + 1.5], [css(one.colour, dimmed ? 0.3 : 1), line]]) {
      if (dimmed && style === HALO) continue;
      context.strokeStyle = style;
      context.lineWidth = width;
      context.strokeRect(left, top, right - left, bottom - top);
    }
  }
  context.setLineDash([]);
}

/** The tile that was looked at last: {x, y, width, height}. */
export function tile(context, place, { x, y, width, height }) {
  const [left, top] = place([x, y]);
  const [right, bottom] = place([x + width, y + height]);
  for (const [style, line] of [[HALO, 4], ["#fff", 2]]) {
    context.strokeStyle = style;
    context.lineWidth = line;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

/** Labels, the best first; one that would cover another is left out. */
export function labels(context, place, { instances, marked }, room) {
  const first = (one) => (one.index === marked ? 0 : 1);
  const taken = [];
  context.font = "600 12px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const one of [...instances].sort((a, b) => first(a) - first(b))) {
    if (marked !== null && one.index !== marked) continue;
    const name = one.track ? `${one.track} ${one.category}` : one.category;
    const text = `${name.slice(0, LABEL)} ${one.wrong ? "✗" : one.score.toFixed(2)}`;
    const [width, height] = [context.measureText(text).width + 10, LABEL_HEIGHT];
    const [left, top] = place(one.box);
    const x = Math.max(0, Math.min(room - width, left - 1));
    const y = top - height < 0 ? top : top - height;
    const covers = (t) =>
      x < t.x + t.width && t.x < x + width && y < t.y + height && t.y < y + height;
    if (taken.some(covers)) continue;
    taken.push({ x, y, width });
    context.fillStyle = css(one.colour);
    context.beginPath();
    context.roundRect(x, y, width, height, 3);
    context.fill();
    context.fillStyle = ink(one.colour);
    context.fillText(text, x + 5, y + height / 2 + 0.5);
  }
}

/** The rings of an outline, its points, and the middles of long edges. */
export function points(context, place, { rings, active }) {
  const shown = rings.map((ring) => ring.map(place));
  for (const [style, width] of [[HALO, 4], ["#fff", 2]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    for (const ring of shown) {
      ring.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
    }
    context.stroke();
  }
  const dot = ([x, y], radius, fill) => {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
    context.strokeStyle = "#111";
    context.lineWidth = 1.5;
    context.stroke();
  };
  shown.forEach((ring, r) => {
    for (const [, middle] of middles(ring)) dot(middle, MIDDLE, "rgb(255 255 255 / 60%)");
    ring.forEach((point, i) => {
      const isActive = active?.[0] === r && active[1] === i;
      dot(point, isActive ? POINT + 2 : POINT, isActive ? "#ffb000" : "#fff");
    });
  });
}

/** The middles of a ring's edges that are long on the screen, each with its edge's number. */
export function middles(ring) {
  return ring.flatMap(([x, y], i) => {
    const [u, v] = ring[(i + 1) % ring.length];
    return Math.hypot(u - x, v - y) > LONG ? [[i, [(x + u) / 2, (y + v) / 2]]] : [];
  });
}
