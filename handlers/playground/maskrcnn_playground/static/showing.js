// What is shown of what was found: which instances the controls let through, and their colours.

import { colour } from "./overlay.js";
import { $ } from "./page.js";

/** `parts` has the page's `state`, `pictures`, `comparing`, `choices` and `clips`. */
export function showing(parts) {
  const threshold = () => Number($("mask").value);

  // Scores are 32-bit floats, and so the server compares them.
  const least = () => Math.fround(Number($("score").value));

  /** Instances with their colours. */
  function coloured(all) {
    const { colours } = parts.choices.values;
    const number = (one) => (colours === "class" ? one.categoryId : one.index);
    return all.map((one) => ({ ...one, colour: colour(number(one)) }));
  }

  /** The instances of the picture that is shown, or of the frame. */
  function instances() {
    const { current } = parts.pictures;
    if (current?.isClip) return coloured(parts.clips.instances());
    return coloured(current?.edits?.instances ?? current?.part?.instances ?? []);
  }

  /** The instances that are drawn: with those of the other model, if there is one. */
  const drawn = () => parts.comparing.instances(instances(), threshold(), least());

  /** The instances that are listed: all tracks of a clip, also those that are in other frames. */
  const listed = () => (parts.clips.tracks ? coloured(parts.clips.listed) : drawn());

  /** Whether the controls let an instance through. A track has what scores less, too. */
  function isShown(one) {
    const scores = Boolean(one.track) || one.score >= least();
    return scores && !parts.state.hidden.has(one.category) && parts.comparing.shows(one);
  }

  return { threshold, least, instances, drawn, listed, isShown };
}
