// The server as the page begins with it, and a change of the model or of how it is asked.

import * as elsewhere from "./elsewhere.js";
import { describeModel, nameModels, showSamples } from "./models.js";
import { $, complain, tell } from "./page.js";
import * as server from "./server.js";

/** `page` has its `state` and its parts, `given(files)` and `show()`. */
export class Serving {
  constructor(page) {
    this._page = page;
  }

  /** Learn what the server offers, and wait for its model. */
  async begin() {
    const { state, pictures, comparing, choices, tiling, given, show } = this._page;
    let names = [];
    state.named = nameModels().then((all) => {
      names = all;
      state.model = names[0] ?? null;
    });
    try {
      state.server = await server.describe();
      $("mask").value = state.server.mask_threshold;
      tiling.offer(state.server.streams);
      showSamples(state.server.samples, "samples", given);
      elsewhere.offer(state.server, choices.values.format || state.server.format);
      show();
      await state.named;
      comparing.offer(names);
      await this._describe();
      if (!pictures.current) tell("");
    } catch (error) {
      complain(error);
    }
  }

  /** Ask about every picture anew; false: that would lose edits that people want to keep. */
  askAgain(change = () => {}) {
    const { pictures } = this._page;
    if (pictures.isEdited && !confirm("Your edits are lost with the new answers.")) return false;
    change();
    for (const picture of pictures.all) picture.forget();
    if (pictures.current) pictures.show(pictures.current);
    return true;
  }

  /** Ask the model that was chosen. */
  async changeModel(chosen) {
    const { state, comparing } = this._page;
    const isSure = this.askAgain(() => {
      state.model = chosen.value;
      comparing.offer([...chosen.options].map(({ value }) => value));
    });
    if (!isSure) {
      chosen.value = state.model;
      return;
    }
    await this._describe().catch(complain);
  }

  async _describe() {
    const { state, editing, given } = this._page;
    editing.offer(await describeModel(state.model, state.server, given));
  }
}
