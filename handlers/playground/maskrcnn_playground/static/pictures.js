// The pictures that were opened: which one is shown, what is known of each, and their strip.

import { isFilm } from "./clips.js";
import { Edits } from "./edits.js";
import { $, element } from "./page.js";
import * as server from "./server.js";

export const MOST = 200;
const THUMB = 56;

/** A picture, and what the server has said of it. */
export class Picture {
  constructor(file, isAnimated = false) {
    this.file = file;
    this.isAnimated = isAnimated;
    this.answer = null;
    this.reply = null;
    this.edits = null;
    this.error = null;
    this.part = null;
    this.tiling = {};
    this.thumb = element("canvas", "", { width: THUMB, height: THUMB });
    this.thumb.setAttribute("aria-hidden", "true");
  }

  /** Keep the server's reply: an answer, or bytes in format `soft`. */
  answered(reply) {
    this.answer = reply.answer ?? server.parsed(reply.bytes);
    this.part = null;
    this.reply = reply;
    this.edits = new Edits(this.answer.instances);
    this.error = null;
  }

  /** Forget what the server has said. */
  forget() {
    this.answer = this.reply = this.edits = this.error = this.part = null;
    this.answers = this.tracks = null;
  }

  get isClip() {
    return this.isAnimated || isFilm(this.file);
  }

  get isWaiting() {
    return !this.isClip && !this.answer && !this.error;
  }

  /**
   * Its pixels, upright, as the server sees them; where the browser cannot decode the file, a PNG
   * of the server's. Null if the server cannot, either.
   */
  async bitmap() {
    const decoded = await createImageBitmap(this.file, { imageOrientation: "from-image" }).catch(
      () => null,
    );
    const bitmap = decoded ?? (await this._redrawn());
    if (bitmap) this.thumbnail(bitmap, bitmap.width, bitmap.height);
    return bitmap;
  }

  async _redrawn() {
    const blob = await server.redrawn(this.file).catch(() => null);
    return blob && createImageBitmap(blob).catch(() => null);
  }

  /** Draw what is to stand for it. */
  thumbnail(source, width, height) {
    const context = this.thumb.getContext("2d");
    const scale = Math.max(THUMB / width, THUMB / height);
    const [w, h] = [width * scale, height * scale];
    context.drawImage(source, (THUMB - w) / 2, (THUMB - h) / 2, w, h);
  }
}

/** All of them, in order; calls `shown(picture)` when another one is to be shown. */
export class Pictures {
  constructor(shown) {
    this.all = [];
    this.current = null;
    this._shown = shown;
  }

  /** Add files, `animated` the images that are, and show the first; how many were too many. */
  add(files, animated = new Set()) {
    const room = Math.max(0, MOST - this.all.length);
    const added = [...files].slice(0, room).map((file) => new Picture(file, animated.has(file)));
    this.all.push(...added);
    if (added.length) this.show(added[0]);
    return files.length - added.length;
  }

  show(picture) {
    this.current = picture;
    this.draw();
    this._shown(picture);
  }

  /** Show the next one, or the one before. */
  step(by) {
    const other = this.all[this.all.indexOf(this.current) + by];
    if (other) this.show(other);
  }

  /** Close all but the one that is shown. */
  closeOthers() {
    this.all = this.all.filter((one) => one === this.current);
    this.draw();
  }

  /** Whether people's work would be lost with what the server has said. */
  get isEdited() {
    return this.all.some(({ edits }) => edits?.isEdited);
  }

  /** Draw the strip, if there is more than one. */
  draw() {
    $("pictures").hidden = this.all.length < 2;
    if (this.all.length < 2) return;
    $("strip").replaceChildren(...this.all.map((picture) => this._item(picture)));
    const asked = this.all.filter(({ isWaiting }) => !isWaiting).length;
    $("asked-count").textContent = `${asked} of ${this.all.length}`;
    $("strip").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  _item(picture) {
    const { file, answer, edits, error, thumb } = picture;
    const found = picture.isClip ? "clip" : answer && `${edits.instances.length} found`;
    const said = error ? "failed" : found || "waiting";
    const edited = edits?.isEdited ? ", edited" : "";
    const text = `${file.name}: ${said}${edited}`;
    const button = element("button", "", { type: "button", title: text });
    button.setAttribute("aria-label", text);
    if (picture === this.current) button.setAttribute("aria-current", "true");
    button.dataset.state = error ? "failed" : found ? "done" : "waiting";
    if (edited) button.dataset.edited = "";
    button.append(thumb);
    button.addEventListener("click", () => this.show(picture));
    const item = element("li");
    item.append(button);
    return item;
  }
}
