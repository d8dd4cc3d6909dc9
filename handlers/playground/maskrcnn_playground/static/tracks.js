// Tracks: the instances of a clip, followed from frame to frame by the server. Knows no page.

import { runs } from "./outline.js";
import * as server from "./server.js";

const FLOOR = 0.1;
const FEW = 8;

/** Tracks through the first `known` frames of a clip, best first in each frame. */
export class Tracks {
  constructor(told, answers, known, least) {
    this.known = known;
    this.least = least;
    this.all = told.map(({ number, category_id: categoryId, score, places }) => {
      const named = places.map(([frame, index]) => answers[frame].instances[index]);
      const own = named.find((one) => one.categoryId === categoryId);
      const category = own?.category ?? nameOf(answers.slice(0, known), categoryId);
      return { number, categoryId, category, score, places: new Map(places) };
    });
    this._here = answers.map(() => []);
    for (const track of this.all) for (const frame of track.places.keys()) this._here[frame].push(track);
  }

  /** The instances of a frame: each has the number and the class of its track. */
  at(frame, answer) {
    return (this._here[frame] ?? [])
      .map(({ number, categoryId, category, places }) => {
        const one = answer.instances[places.get(frame)];
        return { ...one, index: number, track: number, categoryId, category };
      })
      .sort((a, b) => b.score - a.score);
  }

  /** The tracks as instances that are listed; those in a frame have its box and mask. */
  listed(frame, answer) {
    const here = new Map((answer ? this.at(frame, answer) : []).map((one) => [one.index, one]));
    return this.all.map(({ number, categoryId, category, score, places }) => {
      const note = `${places.size} of ${this.known} frames`;
      const own = { index: number, track: number, categoryId, category, score, note };
      return { ...here.get(number), ...own, isAway: !here.has(number) };
    });
  }

  /** The frames in which a track is seen, by its number; undefined: there is none. */
  frames(number) {
    return this.all.find((track) => track.number === number)?.places;
  }

  /** The frame nearest to `frame` in which a track is seen. */
  nearest(number, frame) {
    const distance = (one) => Math.abs(one - frame);
    const frames = [...(this.frames(number)?.keys() ?? [frame])];
    return frames.reduce((best, one) => (distance(one) < distance(best) ? one : best));
  }
}

/**
 * Follows a clip's instances while its answers come. `page` has `model()`, `least()`, the score
 * from which an instance begins a track, `changed()` and `failed(error)`.
 */
export class Following {
  constructor(page) {
    this._page = page;
    this._busy = false;
  }

  /** Follow a clip's instances, if there is something new; its `tracks` are there then. */
  async update(picture) {
    if (this._busy || !picture.plan || !picture.answers) return;
    const known = leading(picture.answers, picture.plan.count);
    const { known: before = 0, least } = picture.tracks ?? {};
    const isMore = known === picture.plan.count ? before < known : known >= Math.max(FEW, 2 * before);
    const wanted = this._page.least();
    if (!known || !(isMore || (picture.tracks && least !== wanted))) return;
    const { answers } = picture;
    if (this._refused === answers) return;
    this._busy = true;
    try {
      const reply = await server.tracks(question(picture, known, wanted), this._page.model());
      // Meanwhile, they may have been forgotten.
      if (picture.answers === answers) {
        picture.tracks = new Tracks(JSON.parse(reply.text).tracks, answers, known, wanted);
      }
    } catch (error) {
      this._refused = answers;
      this._page.failed(error);
      return;
    } finally {
      this._busy = false;
    }
    // Which draws, and so asks again if there is more.
    this._page.changed();
  }

  /** The tracks of a clip as a file in a format: {text, type}; of these classes, if they are given. */
  async file(picture, format, threshold, categoryIds) {
    const { known, least } = picture.tracks;
    const masks = picture.answers.slice(0, known).map((answer, frame) => {
      const own = picture.tracks.all.map(({ places }) => places.get(frame));
      return new Map(own.filter((index) => index !== undefined).map((index) => {
        const { mask } = answer.instances[index];
        return [index, mask ? compressed(runs(mask, picture.plan.size, threshold)) : ""];
      }));
    });
    const asked = { ...question(picture, known, least, masks), category_ids: categoryIds };
    return server.tracks(asked, this._page.model(), format);
  }
}

/** What the server needs to know of a clip's first frames; `masks` are by frame and instance. */
function question({ file, plan, answers, isAnimated }, known, least, masks = []) {
  const frames = answers.slice(0, known).map(({ instances }, frame) => {
    const seen = instances.filter(({ score }) => score >= FLOOR);
    return seen.map(({ box, score, categoryId, index }) => {
      return { box, score, category_id: categoryId, runs: masks[frame]?.get(index) ?? "" };
    });
  });
  return {
    name: file.name.replace(/\.[^.]*$/, ""),
    size: plan.size,
    times_s: plan.times.slice(0, known),
    is_timed: !isAnimated,
    rate: plan.rate,
    score_threshold: least,
    frames,
  };
}

/** The number of answers up to the first that is missing. */
function leading(answers, count) {
  const missing = Array.from({ length: count }, (_, i) => i).find((i) => !answers[i]);
  return missing ?? count;
}

function nameOf(answers, categoryId) {
  const all = answers.flatMap(({ instances }) => instances);
  return all.find((one) => one.categoryId === categoryId)?.category ?? String(categoryId);
}

/** Run lengths as COCO's text (rleToString of cocoapi, common/maskApi.c). */
export function compressed(counts) {
  const full = counts.length > 1 && counts.at(-1) === 0 ? counts.slice(0, -1) : counts;
  let text = "";
  full.forEach((count, i) => {
    let rest = i > 2 ? count - full[i - 2] : count;
    for (let isMore = true; isMore; ) {
      const digit = rest & 31;
      rest >>= 5;
      isMore = digit & 16 ? rest !== -1 : rest !== 0;
      text += String.fromCharCode(48 + (isMore ? digit | 32 : digit));
    }
  });
  return text;
}
