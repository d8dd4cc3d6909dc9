// The model that is asked: its name, what it knows, and samples for it.

import * as inputs from "./inputs.js";
import { $, element, tell } from "./page.js";
import * as server from "./server.js";

/** Wait for the model; the names of several for requests, none if there is one model only. */
export async function nameModels() {
  const said = await server.ready((why) => tell(why, true));
  if (said.model) {
    $("model").textContent = `${said.model}, ${said.backend}`;
    return [];
  }
  const names = await server.models();
  if (!names.length) {
    throw new server.Refused("No model is loaded: POST one to /models, and load this page again.");
  }
  $("models").hidden = false;
  $("models").querySelector("select").append(...names.map((name) => element("option", name)));
  return names;
}

/** The categories that a model knows; offer photographs if they are COCO's, else `samples`. */
export async function describeModel(model, { photographs, samples }, given) {
  const { categories, is_coco: isCoco } = await server.describeModel(model);
  if (isCoco) showSamples(photographs, "photographs", given);
  else showSamples(samples, "samples", given);
  return categories;
}

/** Offer samples of a kind, which the server has by number, or photographs, by name. */
export function showSamples(names, kind, given) {
  const routed = (name, i) => ({
    name,
    route: `playground/${kind}/${kind === "samples" ? i : encodeURIComponent(name)}`,
  });
  inputs.showSamples(names.map(routed), given);
}
