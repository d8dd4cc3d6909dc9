// The picture on the screen: zoomed, panned, and with what was found drawn over it.

import { contains } from "./masks.js";
import { colour, css, ink, paint } from "./overlay.js";

const MARGIN = 16;
const MOST_SCALE = 64;
const MOST_RATIO = 2;
const STEP = 1.25;
const CLICK = 5;
const LARGE = 2400;
const SLOW_MS = 24;
const PAUSE_MS = 90;
const LABEL = 40;

/**
 * A canvas that shows a picture. Calls `on.hover(index or null)` and `on.pick(index or null)` for
 * the instance that is pointed at, and `on.zoom(scale)`, in CSS pixels for each of the image's.
 */
export class View {
  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on;
    this.paintMs = 0;
    this._context = canvas.getContext("2d");
    this._layer = document.createElement("canvas");
    this._scene = { instances: [], marked: null, threshold: 0.5, show: {} };
    this._pointers = new Map();
    this._clear();
    new ResizeObserver(() => this._resized()).observe(canvas);
    this._listen();
  }

  /** Show a picture of this size; `bitmap` may be null where the browser cannot decode it. */
  picture(bitmap, [height, width]) {
    this._clear();
    this._bitmap = bitmap;
    this._size = [height, width];
    this.fit();
    if (bitmap && Math.max(width, height) > LARGE) this._reduce(bitmap, LARGE / 2);
  }

  /** Draw these instances: `{instances, marked, threshold, show: {masks, boxes, labels}}`. */
  scene(scene) {
    this._scene = scene;
    this._stale = true;
    this._movedAt = -Infinity;
    this._draw();
  }

  /** Show the whole picture. */
  fit() {
    this._fitted = true;
    this._scale = this._fit();
    this._moved();
  }

  /** Zoom by a factor around a point of the canvas, by default its middle. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this._size) return;
    const least = Math.min(1, this._fit());
    const scale = Math.max(least, Math.min(MOST_SCALE, this._scale * factor));
    this._left = x - (x - this._left) * (scale / this._scale);
    this._top = y - (y - this._top) * (scale / this._scale);
    this._scale = scale;
    this._fitted = Math.abs(scale - this._fit()) < 1e-6;
    this._moved();
  }

  zoomIn() {
    this.zoom(STEP);
  }

  zoomOut() {
    this.zoom(1 / STEP);
  }

  pan(dx, dy) {
    this._left += dx;
    this._top += dy;
    this._moved();
  }

  /** Bring a box to the middle, as large as fits. */
  reveal([x1, y1, x2, y2]) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const wanted = Math.min(width / (x2 - x1 + 1), height / (y2 - y1 + 1)) * 0.6;
    this._scale = Math.max(this._fit(), Math.min(MOST_SCALE / 2, wanted));
    this._left = width / 2 - ((x1 + x2) / 2) * this._scale;
    this._top = height / 2 - ((y1 + y2) / 2) * this._scale;
    this._fitted = false;
    this._moved();
  }

  /** The instance at a point of the canvas: the best whose mask is there, else a small box's. */
  at(x, y) {
    const { instances, threshold, show } = this._scene;
    const [u, v] = [(x - this._left) / this._scale, (y - this._top) / this._scale];
    const on = (one) => show.masks && one.mask && contains(one.mask, u, v, threshold);
    const masked = instances.find(on);
    if (masked) return masked.index;
    const inside = ({ box: [x1, y1, x2, y2] }) => u >= x1 && u <= x2 && v >= y1 && v <= y2;
    const size = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
    const boxed = show.boxes ? instances.filter(inside).sort((a, b) => size(a) - size(b)) : [];
    return boxed[0]?.index ?? null;
  }

  _clear() {
    this._bitmap?.close();
    this._reduced?.close();
    this._bitmap = this._reduced = this._size = this._painted = null;
    this._scale = 1;
    this._left = this._top = 0;
  }

  async _reduce(bitmap, longest) {
    const [height, width] = this._size;
    const factor = longest / Math.max(width, height);
    const reduced = await createImageBitmap(bitmap, {
      resizeWidth: Math.max(1, Math.round(width * factor)),
      resizeHeight: Math.max(1, Math.round(height * factor)),
      resizeQuality: "high",
    }).catch(() => null);
    if (this._bitmap === bitmap) this._reduced = reduced;
    else reduced?.close();
  }

  get _ratio() {
    return Math.min(MOST_RATIO, window.devicePixelRatio || 1);
  }

  _fit() {
    if (!this._size) return 1;
    const [height, width] = this._size;
    const { clientWidth, clientHeight } = this.canvas;
    const room = (space) => Math.max(1, space - 2 * MARGIN);
    return Math.min(room(clientWidth) / width, room(clientHeight) / height, MOST_SCALE);
  }

  _resized() {
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * this._ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * this._ratio));
    if (this._fitted) this.fit();
    else this._moved();
  }

  /** After a change of the place: keep the picture in sight. */
  _moved() {
    if (this._size) {
      const kept = (start, size, room) =>
        size <= room ? (room - size) / 2 : Math.max(room - size, Math.min(0, start));
      const [height, width] = this._size;
      this._left = kept(this._left, width * this._scale, this.canvas.clientWidth);
      this._top = kept(this._top, height * this._scale, this.canvas.clientHeight);
      this.canvas.style.touchAction = this._fitted ? "pan-y" : "none";
      this.on.zoom(this._scale);
    }
    this._movedAt = performance.now();
    this._stale = true;
    this._draw();
  }

  _draw() {
    this._frame ??= requestAnimationFrame(() => {
      this._frame = null;
      this._render();
    });
  }

  _render() {
    const context = this._context;
    const ratio = this._ratio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this._size) return;
    const [height, width] = this._size;
    const scale = this._scale * ratio;
    context.setTransform(scale, 0, 0, scale, this._left * ratio, this._top * ratio);
    context.imageSmoothingEnabled = scale < 8;
    context.imageSmoothingQuality = "high";
    const small = this._reduced && scale * width <= this._reduced.width;
    const bitmap = small ? this._reduced : this._bitmap;
    if (bitmap) {
      context.drawImage(bitmap, 0, 0, width, height);
    } else {
      context.fillStyle = "#777";
      context.fillRect(0, 0, width, height);
    }
    if (this._scene.show.masks) this._masks(context);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this._scene.show.boxes) this._boxes(context);
    if (this._scene.show.labels) this._labels(context);
  }

  /** Paint the masks anew; where that takes long, stretch the last ones while the view moves. */
  _masks(context) {
    const place = {
      scale: this._scale * this._ratio,
      left: this._left * this._ratio,
      top: this._top * this._ratio,
    };
    const moving = performance.now() - this._movedAt < PAUSE_MS;
    if (this._stale && this._painted && moving && this.paintMs > SLOW_MS) {
      clearTimeout(this._later);
      this._later = setTimeout(() => this._draw(), PAUSE_MS);
    } else if (this._stale) {
      this._paint(place);
    }
    const old = this._painted;
    const factor = place.scale / old.scale;
    context.setTransform(
      factor, 0, 0, factor, place.left - old.left * factor, place.top - old.top * factor,
    );
    context.drawImage(this._layer, 0, 0);
  }

  _paint(place) {
    const { instances, marked, threshold } = this._scene;
    const begin = performance.now();
    this._layer.width = this.canvas.width;
    this._layer.height = this.canvas.height;
    const context = this._layer.getContext("2d");
    const pixels = context.createImageData(this._layer.width, this._layer.height);
    const options = { threshold, marked, line: Math.round(this._ratio) };
    paint(instances, place, this._size, options, pixels);
    context.putImageData(pixels, 0, 0);
    this._painted = place;
    this._stale = false;
    this.paintMs = performance.now() - begin;
    this.on.painted?.(this.paintMs);
  }

  _boxes(context) {
    const { instances, marked } = this._scene;
    for (const { index, box } of [...instances].reverse()) {
      const [x1, y1, x2, y2] = box;
      const dimmed = marked !== null && marked !== index;
      context.strokeStyle = css(colour(index), dimmed ? 0.3 : 1);
      context.lineWidth = index === marked ? 2.5 : 1.5;
      context.strokeRect(
        this._left + x1 * this._scale, this._top + y1 * this._scale,
        (x2 - x1) * this._scale, (y2 - y1) * this._scale,
      );
    }
  }

  /** The best first; one that would cover another is left out. */
  _labels(context) {
    const { instances, marked } = this._scene;
    const first = (one) => (one.index === marked ? 0 : 1);
    const taken = [];
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const one of [...instances].sort((a, b) => first(a) - first(b))) {
      if (marked !== null && one.index !== marked) continue;
      const text = `${one.category.slice(0, LABEL)} ${one.score.toFixed(2)}`;
      const width = context.measureText(text).width + 10;
      const height = 18;
      const room = this.canvas.clientWidth - width;
      const x = Math.max(0, Math.min(room, this._left + one.box[0] * this._scale - 1));
      const above = this._top + one.box[1] * this._scale - height;
      const y = above < 0 ? above + height : above;
      const covers = (t) =>
        x < t.x + t.width && t.x < x + width && y < t.y + height && t.y < y + height;
      if (taken.some(covers)) continue;
      taken.push({ x, y, width });
      context.fillStyle = css(colour(one.index));
      context.beginPath();
      context.roundRect(x, y, width, height, 3);
      context.fill();
      context.fillStyle = ink(colour(one.index));
      context.fillText(text, x + 5, y + height / 2 + 0.5);
    }
  }

  _listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this._down(event));
    canvas.addEventListener("pointermove", (event) => this._move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this._up(event));
    }
    canvas.addEventListener("pointerleave", () => this.on.hover(null));
    canvas.addEventListener("dblclick", (event) => {
      if (this._fitted) this.zoom(4, event.offsetX, event.offsetY);
      else this.fit();
    });
  }

  _wheel(event) {
    if (!this._size) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0015;
    this.zoom(Math.exp(-event.deltaY * lines * speed), event.offsetX, event.offsetY);
  }

  _down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this._pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this._origin = [event.offsetX, event.offsetY];
    this._dragged = this._pointers.size > 1;
  }

  _move(event) {
    const here = [event.offsetX, event.offsetY];
    const before = this._pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.on.hover(this.at(...here));
      return;
    }
    const far = Math.hypot(here[0] - this._origin[0], here[1] - this._origin[1]) > CLICK;
    this._dragged ||= far;
    if (this._pointers.size === 2) this._pinch(event.pointerId, before, here);
    else if (this._dragged) this.pan(here[0] - before[0], here[1] - before[1]);
    this._pointers.set(event.pointerId, here);
  }

  /** One of two fingers moves; the other stays for this event. */
  _pinch(moving, before, here) {
    const [, [x, y]] = [...this._pointers].find(([id]) => id !== moving);
    const distance = ([u, v]) => Math.max(1, Math.hypot(u - x, v - y));
    this.pan((here[0] - before[0]) / 2, (here[1] - before[1]) / 2);
    this.zoom(distance(here) / distance(before), (here[0] + x) / 2, (here[1] + y) / 2);
  }

  _up(event) {
    if (!this._pointers.delete(event.pointerId)) return;
    const clicked = event.type === "pointerup" && !this._dragged;
    if (clicked) this.on.pick(this.at(event.offsetX, event.offsetY));
  }
}
