// Animated images, whose frames the server composes. Knows no page.

import * as server from "./server.js";

const MAX_SNIFFED = 2 ** 22;

/** Whether a file is an animated GIF, WebP or PNG, by its bytes. */
export async function isAnimated(file) {
  const bytes = new Uint8Array(await file.slice(0, MAX_SNIFFED).arrayBuffer());
  const text = (start, end) => String.fromCharCode(...bytes.subarray(start, end));
  if (text(0, 4) === "GIF8") return controls(bytes) > 1;
  if (text(0, 4) === "RIFF" && text(12, 16) === "VP8X") return (bytes[20] & 2) !== 0;
  if (text(1, 4) !== "PNG") return false;
  // What says that a PNG is animated stands before its pixels.
  const head = text(0, 4096);
  return head.includes("acTL") && !head.slice(0, head.indexOf("acTL")).includes("IDAT");
}

/** The number of a GIF's graphic control extensions: one for each frame of an animation. */
function controls(bytes) {
  let count = 0;
  for (let at = bytes.indexOf(0x21); at >= 0 && count < 2; at = bytes.indexOf(0x21, at + 1)) {
    if (bytes[at + 1] === 0xf9 && bytes[at + 2] === 4 && bytes[at + 7] === 0) count++;
  }
  return count;
}

/**
 * An animated image that plays on a canvas, frame by frame, each for its own time. `changed()` is
 * called when it begins or ends to play, or shows another frame.
 */
export class Animation {
  constructor(changed) {
    this.picture = document.createElement("canvas");
    this.paused = true;
    this.number = 0;
    this._changed = changed;
    this._drawing = 0;
  }

  /** Read the file: `plan` is there then, with the `times` of frames and the `end` in seconds. */
  async open(file) {
    const { size, frames } = await server.frames(file);
    const last = frames.at(-1);
    const end = last.time_s + last.duration_s;
    const times = frames.map(({ time_s }) => time_s);
    this.plan = { count: frames.length, rate: frames.length / end, size, times, end };
    this._files = frames.map(({ image }, number) => {
      const bytes = Uint8Array.from(atob(image), (character) => character.charCodeAt(0));
      return new File([bytes], `frame-${number}.jpg`, { type: "image/jpeg" });
    });
    [this.picture.height, this.picture.width] = size;
    await this._draw(0);
  }

  play() {
    const { times, end, count } = this.plan;
    this.paused = false;
    if (this.number === count - 1) this._draw(0);
    const began = performance.now() / 1000 - times[this.number];
    this._playing = setInterval(() => {
      const time = performance.now() / 1000 - began;
      if (time >= end) return this.pause();
      const number = times.findLastIndex((start) => start <= time);
      if (number !== this.number) this._draw(number);
    }, 10);
    this._changed();
  }

  pause() {
    clearInterval(this._playing);
    this.paused = true;
    this._changed();
  }

  seek(number) {
    const wasPlaying = !this.paused;
    if (wasPlaying) clearInterval(this._playing);
    this._draw(number);
    if (wasPlaying) this.play();
  }

  /** Frame `number` as a JPEG. */
  async frame(number) {
    return this._files[number];
  }

  close() {
    this._drawing++;
    clearInterval(this._playing);
  }

  async _draw(number) {
    const turn = ++this._drawing;
    this.number = number;
    const bitmap = await createImageBitmap(this._files[number]);
    // Meanwhile, another one may have been asked for.
    if (turn === this._drawing) {
      this.picture.getContext("2d").drawImage(bitmap, 0, 0);
      this._changed();
    }
    bitmap.close();
  }
}
