// Videos as the browser plays them, and their frames at regular times. Knows no page.

import { Refused } from "./server.js";

export const MAX_FRAMES = 300;
export const MAX_RATE = 10;
export const MAX_SIDE = 1280;
const QUALITY = 0.9;
const FAR_S = 1e7;
const INSIDE_S = 0.001;
const EVENTS = ["play", "pause", "ended", "seeked"];

/** Which frames of a video are looked at: how many, how many a second, and their height and width. */
export function plan({ duration, videoWidth, videoHeight }) {
  const rate = Math.min(MAX_RATE, MAX_FRAMES / duration);
  const scale = Math.min(1, MAX_SIDE / Math.max(videoWidth, videoHeight));
  const side = (length) => Math.max(1, Math.round(length * scale));
  const count = Math.max(1, Math.min(MAX_FRAMES, Math.floor(duration * rate)));
  return { count, rate, size: [side(videoHeight), side(videoWidth)] };
}

/**
 * A video in an element, with a second element that takes frames. `changed()` is called when it
 * begins or ends to play, or is at another time.
 */
export class Film {
  constructor(element, changed) {
    this.picture = element;
    this._reader = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    this._ended = new AbortController();
    const { signal } = this._ended;
    for (const name of EVENTS) element.addEventListener(name, changed, { signal });
  }

  /** Read the file: `plan` is there then, with the `times` of frames and the `end` in seconds. */
  async open(file) {
    await Promise.all([this.picture, this._reader].map((video) => load(video, file)));
    const made = plan(this.picture);
    const times = Array.from({ length: made.count }, (_, number) => number / made.rate);
    this.plan = { ...made, times, end: made.count / made.rate };
  }

  get paused() {
    return this.picture.paused;
  }

  /** The number of the frame that is next to what is shown. */
  get number() {
    const { count, rate } = this.plan;
    return Math.min(count - 1, Math.round(this.picture.currentTime * rate));
  }

  play() {
    this.picture.play();
  }

  pause() {
    this.picture.pause();
  }

  seek(number) {
    this.picture.currentTime = time(this.picture, this.plan.times[number]);
  }

  /** Frame `number` as a JPEG. One after the other. */
  async frame(number) {
    const [height, width] = this.plan.size;
    await seek(this._reader, time(this._reader, this.plan.times[number]));
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage(this._reader, 0, 0, width, height);
    const blob = await new Promise((made) => canvas.toBlob(made, "image/jpeg", QUALITY));
    return new File([blob], `frame-${number}.jpg`, { type: "image/jpeg" });
  }

  /** Let the file go. */
  close() {
    this._ended.abort();
    this.picture.pause();
    for (const video of [this.picture, this._reader]) {
      if (video.hasAttribute("src")) unload(video);
    }
  }
}

async function load(video, file) {
  video.src = URL.createObjectURL(file);
  try {
    await happened(video, "loadeddata");
    // Recordings of browsers do not say how long they are, until somebody looks for their end.
    if (!Number.isFinite(video.duration)) await seek(video, FAR_S);
    await seek(video, time(video, 0));
  } catch {
    throw new Refused(`This browser cannot play ${file.name}.`);
  }
  if (!video.videoWidth || !Number.isFinite(video.duration)) {
    throw new Refused(`${file.name} has no pictures.`);
  }
}

function unload(video) {
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}

/** A little after a frame's beginning, where browsers surely show it. */
function time({ duration }, seconds) {
  return Math.max(0, Math.min(seconds + INSIDE_S, duration - INSIDE_S));
}

async function seek(video, seconds) {
  if (video.currentTime === seconds && !video.seeking) return;
  video.currentTime = seconds;
  await happened(video, "seeked");
}

function happened(video, name) {
  return new Promise((done, failed) => {
    const ended = new AbortController();
    const listen = (event, then) => {
      video.addEventListener(event, () => (ended.abort(), then()), { signal: ended.signal });
    };
    listen(name, done);
    listen("error", () => failed(video.error));
  });
}
