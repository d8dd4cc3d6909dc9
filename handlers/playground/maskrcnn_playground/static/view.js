// The picture on the screen: zoomed, panned, and with what was found drawn over it.

import { gestures } from "./gestures.js";
import { contains } from "./masks.js";
import * as marks from "./marks.js";
import { paint } from "./overlay.js";

const MARGIN = 16;
const MAX_SCALE = 64;
const MAX_RATIO = 2;
const LARGE = 2400;
const SLOW_MS = 24;
const PAUSE_MS = 90;
const LINE = 1.5;
const FEW_PIXELS = 1e6;
const REVEALED = 0.55;
const ABOVE = 0.42;

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
    this._scene = { instances: [], marked: null, threshold: 0.5, opacity: 0.4, show: {} };
    this.clear();
    new ResizeObserver(() => this._resized()).observe(canvas);
    gestures(canvas, this, on);
  }

  /**
   * Show a picture of this size; `bitmap` may be null where the browser cannot decode it, or a
   * video, of which each drawing shows the frame of that moment.
   */
  picture(bitmap, [height, width]) {
    if (bitmap && bitmap === this._bitmap) this._bitmap = null;
    this.clear();
    this._bitmap = bitmap;
    this._size = [height, width];
    this.fit();
    if (bitmap instanceof ImageBitmap && Math.max(width, height) > LARGE) this._reduce(bitmap, LARGE / 2);
  }

  /**
   * Draw these instances: `{instances, marked, threshold, opacity, show: {masks, boxes, labels},
   * shaping, tile}`; the last are an outline that is being edited, and a tile, or null.
   */
  scene(scene) {
    this._scene = scene;
    this._stale = true;
    this._movedAt = -Infinity;
    this._draw();
  }

  /** Show the same place as another view of the same picture, whichever of them moves. */
  link(other) {
    this._linked = other;
    other._linked = this;
  }

  /** Show the whole picture. */
  fit() {
    this._fitted = true;
    this._scale = this._fit();
    this._moved();
  }

  /** Whether the whole picture is shown, as large as it fits. */
  get isFitted() {
    return this._fitted;
  }

  /** Zoom by a factor around a point of the canvas, by default its middle. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this._size) return;
    const least = Math.min(1, this._fit());
    const scale = Math.max(least, Math.min(MAX_SCALE, this._scale * factor));
    this._left = x - (x - this._left) * (scale / this._scale);
    this._top = y - (y - this._top) * (scale / this._scale);
    this._scale = scale;
    this._fitted = Math.abs(scale - this._fit()) < 1e-6;
    this._moved();
  }

  /** Move the picture, by CSS pixels. */
  pan(dx, dy) {
    this._left += dx;
    this._top += dy;
    this._moved();
  }

  /** Bring a box to the middle, as large as fits above what is said of it. */
  reveal([x1, y1, x2, y2]) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const wanted = Math.min(width / (x2 - x1 + 1), height / (y2 - y1 + 1)) * REVEALED;
    this._scale = Math.max(this._fit(), Math.min(MAX_SCALE / 2, wanted));
    this._left = width / 2 - ((x1 + x2) / 2) * this._scale;
    this._top = height * ABOVE - ((y1 + y2) / 2) * this._scale;
    this._fitted = false;
    this._moved();
  }

  /** The instance at a point of the canvas: the best whose mask is there, else a small box's. */
  at(x, y) {
    const { instances, threshold, show } = this._scene;
    const [u, v] = this.point([x, y]);
    const on = (one) => show.masks && one.mask && contains(one.mask, u, v, threshold);
    const masked = instances.find(on);
    if (masked) return masked.index;
    const inside = ({ box: [x1, y1, x2, y2] }) => u >= x1 && u <= x2 && v >= y1 && v <= y2;
    const size = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
    const boxed = show.boxes ? instances.filter(inside).sort((a, b) => size(a) - size(b)) : [];
    return boxed[0]?.index ?? null;
  }

  /** Whether a box is in the lower half of the canvas. */
  isLow([, y1, , y2]) {
    return this.place([0, (y1 + y2) / 2])[1] > this.canvas.clientHeight / 2;
  }

  /** Where a point of the image is on the canvas, in CSS pixels. */
  place = ([u, v]) => [this._left + u * this._scale, this._top + v * this._scale];

  /** Which point of the image is at a place of the canvas. */
  point([x, y]) {
    return [(x - this._left) / this._scale, (y - this._top) / this._scale];
  }

  /** Show nothing. */
  clear() {
    this._bitmap?.close?.();
    this._reduced?.close();
    this._bitmap = this._reduced = this._size = this._painted = null;
    this._scale = 1;
    this._left = this._top = 0;
    this.on.zoom(this._scale);
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

  /** Pixels of the masks for each of the screen's: two make smooth edges, if there are not many. */
  get _finer() {
    if (this._ratio >= MAX_RATIO) return 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const seen = (start, end, room) => Math.max(0, Math.min(room, end) - Math.max(0, start));
    const boxes = this._scene.instances.map(({ box: [x1, y1, x2, y2] }) => {
      const [left, right] = [x1, x2].map((x) => this._left + x * this._scale);
      const [top, bottom] = [y1, y2].map((y) => this._top + y * this._scale);
      return seen(left, right, width) * seen(top, bottom, height);
    });
    const pixels = boxes.reduce((sum, area) => sum + area, 0) * this._ratio ** 2;
    return pixels < FEW_PIXELS ? 2 : 1;
  }

  get _ratio() {
    return Math.min(MAX_RATIO, window.devicePixelRatio || 1);
  }

  _fit() {
    if (!this._size) return 1;
    const [height, width] = this._size;
    const { clientWidth, clientHeight } = this.canvas;
    const room = (space) => Math.max(1, space - 2 * MARGIN);
    return Math.min(room(clientWidth) / width, room(clientHeight) / height, MAX_SCALE);
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
    }
    this._placed();
    if (this._size && this._linked?._size) this._linked._follow(this);
  }

  _follow({ _scale, _left, _top, _fitted }) {
    Object.assign(this, { _scale, _left, _top, _fitted });
    this._placed();
  }

  _placed() {
    if (this._size) {
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
    const { show, shaping, tile } = this._scene;
    if (show.boxes) marks.boxes(context, this.place, this._scene);
    if (show.labels) marks.labels(context, this.place, this._scene, this.canvas.clientWidth);
    if (tile) marks.tile(context, this.place, tile);
    if (shaping) marks.points(context, this.place, shaping);
  }

  /** Paint the masks anew; where that takes long, stretch the last ones while the view moves. */
  _masks(context) {
    const moving = performance.now() - this._movedAt < PAUSE_MS;
    if (this._stale && this._painted && moving && this.paintMs > SLOW_MS) {
      clearTimeout(this._later);
      this._later = setTimeout(() => this._draw(), PAUSE_MS);
    } else if (this._stale) {
      this._paint();
    }
    const { scale, left, top } = this._painted;
    const factor = (this._scale * this._ratio) / scale;
    context.setTransform(
      factor, 0, 0, factor,
      this._left * this._ratio - left * factor, this._top * this._ratio - top * factor,
    );
    context.imageSmoothingEnabled = true;
    context.drawImage(this._layer, 0, 0);
  }

  _paint() {
    const { instances, marked, threshold, opacity } = this._scene;
    const begin = performance.now();
    const finer = this._finer;
    const ratio = this._ratio * finer;
    const place = { scale: this._scale * ratio, left: this._left * ratio, top: this._top * ratio };
    this._layer.width = this.canvas.width * finer;
    this._layer.height = this.canvas.height * finer;
    const context = this._layer.getContext("2d");
    const pixels = context.createImageData(this._layer.width, this._layer.height);
    const options = { threshold, marked, opacity, line: Math.round(LINE * ratio) };
    paint(instances, place, this._size, options, pixels);
    context.putImageData(pixels, 0, 0);
    this._painted = place;
    this._stale = false;
    this.paintMs = performance.now() - begin;
  }
}
