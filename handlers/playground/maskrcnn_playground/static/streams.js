// Streamed answers: what is found in a picture's tiles, as they are done.

import { instance, Refused, requested } from "./server.js";

const LINES = "application/x-ndjson";

/**
 * Ask for what is in a picture, tile by tile. `seen(answer, tile, done, of)` is called after each:
 * the answer so far, best first, as `parsed` has it, and the tile's {x, y, width, height}.
 * Returns the whole: as `ask`, with `answer` in place of the bytes.
 */
export async function askInTiles(file, model, options, signal, seen) {
  const begin = performance.now();
  const reply = await requested(file, model, options, signal, LINES);
  const requestId = reply.headers.get("X-Request-Id") ?? "";
  const answer = { size: null, model: null, instances: [] };
  let isComplete = false;
  for await (const entry of lines(reply.body)) {
    if (entry.error) {
      throw new Refused(`The server says: ${entry.error.message}.`, requestId, entry.error);
    }
    isComplete ||= entry.end === true;
    if (!entry.tile) continue;
    const { size, model: asked, instances } = entry.prediction;
    Object.assign(answer, { size, model: asked });
    for (const found of instances) answer.instances.push(instance(found, answer.instances.length));
    answer.instances.sort((a, b) => b.score - a.score || a.index - b.index);
    seen({ ...answer, instances: [...answer.instances] }, entry.tile, entry.done, entry.of);
  }
  if (!isComplete) throw new Refused("The answer ended before it was complete.", requestId);
  const elapsed = performance.now() - begin;
  return { answer, requestId, elapsed, stages: [["tiles", elapsed]] };
}

/** The JSON of each line of a stream of bytes. */
async function* lines(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let parts = [];
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        throw new Refused("The connection to the server broke.");
      });
      if (done) return;
      const [first, ...others] = decoder.decode(value, { stream: true }).split("\n");
      parts.push(first);
      for (const next of others) {
        yield JSON.parse(parts.join(""));
        parts = [next];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
