// Asking the server what is in pictures: the one that is shown first, the others after it.

import { Refused } from "./server.js";
import * as server from "./server.js";
import { smaller } from "./shrink.js";
import { askInTiles } from "./streams.js";

const MEBI = 2 ** 20;
const SHARE = 0.95;

/**
 * The questions about `pictures` to the model in `state`. A question about a picture that is no
 * longer shown is given up, and asked again when the server has time. `tiling` says which are cut.
 */
export function asking(pictures, state, tiling) {
  let asked = null;

  async function ask(picture, bitmap, options, signal, seen = () => {}) {
    const limit = state.server.max_payload_mb;
    if (picture.file.size > limit * MEBI) {
      const why = `${picture.file.name} has more than the ${limit} MiB that the server reads.`;
      throw new Refused(why, "", { code: "payload_too_large" });
    }
    await state.named;
    signal.throwIfAborted();
    picture.tiling = tiling.options(bitmap);
    const wanted = { ...options, ...picture.tiling };
    const reply = picture.tiling.tile
      ? await askInTiles(picture.file, state.model, wanted, signal, seen)
      : await server.ask(picture.file, state.model, wanted, signal);
    picture.answered(reply);
  }

  /** Show a picture through `on`: `seen`, `grown` after each tile, `answered`, or `failed`. */
  async function look(picture, on) {
    asked?.abort();
    const { signal } = (asked = new AbortController());
    try {
      // Until the server has answered, the browser's own pixels do.
      const drawn = picture.bitmap();
      drawn.then((bitmap) => {
        if (bitmap && !signal.aborted && !picture.answer) on.seen(bitmap);
      });
      if (!picture.answer) {
        await state.named;
        if (!signal.aborted) on.tell("Looking ...", true);
        const bitmap = tiling.needsSize(picture) ? await drawn : null;
        await ask(picture, bitmap, on.options, signal, (part, ...place) => {
          picture.part = part;
          on.grown(...place);
        });
      }
      const bitmap = await drawn;
      if (signal.aborted) bitmap?.close();
      else on.answered(bitmap);
    } catch (error) {
      if (signal.aborted) return;
      picture.error = error;
      on.failed(error, remedy(picture, error));
    }
    if (!signal.aborted) await rest(on.options, signal);
  }

  /** Ask about the pictures that wait, one after the other. */
  async function rest(options, signal) {
    for (;;) {
      const waiting = pictures.all.find(({ isWaiting }) => isWaiting);
      if (!waiting || signal.aborted) return;
      try {
        const known = tiling.needsSize(waiting) ? await waiting.bitmap() : null;
        await ask(waiting, known, options, signal);
        (known ?? (await waiting.bitmap()))?.close();
      } catch (error) {
        if (signal.aborted) return;
        waiting.error = error;
      }
      pictures.draw();
    }
  }

  /** A button that sends the picture smaller, if it is too large. */
  function remedy(picture, { code, detail }) {
    if (!["payload_too_large", "image_too_large"].includes(code)) return null;
    const act = async () => {
      const maxBytes = SHARE * state.server.max_payload_mb * MEBI;
      const file = await smaller(picture.file, maxBytes, detail?.max_pixels);
      if (file) picture.file = file;
      picture.forget();
      if (file) pictures.show(picture);
      else picture.error = new Refused(`${picture.file.name} cannot be made smaller here.`);
    };
    return { text: "Send it smaller", act };
  }

  /** Give the question up. */
  const leave = () => asked?.abort();

  return { look, leave };
}
