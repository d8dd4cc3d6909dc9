// The frames of a clip, as the browser decodes them, at regular times. Knows no page.

import { Refused } from "./server.js";

export const MAX_FRAMES = 300;
export const MAX_RATE = 10;
export const MAX_SIDE = 1280;
const QUALITY = 0.9;
const FAR_S = 1e7;
const INSIDE_S = 0.001;

/** Which frames of a clip are looked at: how many, how many a second, and their height and width. */
export function plan({ duration, videoWidth, videoHeight }) {
  const rate = Math.min(MAX_RATE, MAX_FRAMES / duration);
  const scale = Math.min(1, MAX_SIDE / Math.max(videoWidth, videoHeight));
  const side = (length) => Math.max(1, Math.round(length * scale));
  const count = Math.max(1, Math.min(MAX_FRAMES, Math.floor(duration * rate)));
  return { count, rate, size: [side(videoHeight), side(videoWidth)] };
}

/** Load a clip's file into a video element; it knows its length and size then. */
export async function load(video, file) {
  video.src = URL.createObjectURL(file);
  try {
    await happened(video, "loadeddata");
    // Recordings of browsers do not say how long they are, until somebody looks for their end.
    if (!Number.isFinite(video.duration)) await seek(video, FAR_S);
    await seek(video, time(video, 0, Infinity));
  } catch {
    throw new Refused(`This browser cannot play ${file.name}.`);
  }
  if (!video.videoWidth || !Number.isFinite(video.duration)) {
    throw new Refused(`${file.name} has no pictures.`);
  }
}

/** Let a video element's file go. */
export function unload(video) {
  URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}

/** Frame `number` as a JPEG; `video` is there then. */
export async function frame(video, number, { rate, size: [height, width] }) {
  await seek(video, time(video, number, rate));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(video, 0, 0, width, height);
  const blob = await new Promise((made) => canvas.toBlob(made, "image/jpeg", QUALITY));
  return new File([blob], `frame-${number}.jpg`, { type: "image/jpeg" });
}

/** The time of a frame: a little after its beginning, where browsers surely show it. */
export function time({ duration }, number, rate) {
  return Math.max(0, Math.min(number / rate + INSIDE_S, duration - INSIDE_S));
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
