// Two models side by side: what both find in a picture, and what only one of them finds.

import { differences, Overlaps } from "./differences.js";
import { css } from "./overlay.js";
import { $, complain, element, tell } from "./page.js";
import * as server from "./server.js";
import { View } from "./view.js";

// Okabe and Ito (2008): people who see few colours tell these apart.
const COLOURS = {
  both: [86, 180, 233],
  class: [240, 228, 66],
  left: [230, 159, 0],
  right: [204, 121, 167],
};

/**
 * The comparison with another model. `page` has `model()`, `options()` of requests, `hover(index)`,
 * `pick(index)`, and `changed()`, which is called when the comparison begins, changes and ends.
 */
export class Comparing {
  constructor(view, page) {
    this._page = page;
    this._model = "";
    this._answers = new WeakMap();
    this._picture = null;
    this._asked = null;
    this._hidden = new Set();
    this._overlaps = new Overlaps();
    const nothing = () => {};
    this._view = new View($("other"), {
      hover: page.hover, pick: page.pick, zoom: nothing, grab: nothing, drag: nothing, drop: nothing,
    });
    view.link(this._view);
    $("against").addEventListener("change", ({ target }) => this._choose(target.value));
    $("tally").addEventListener("click", ({ target }) => this._toggle(target.closest("button")));
  }

  /** Whether another model is asked, too. */
  get isOn() {
    return this._model !== "";
  }

  /** Offer the models, but for the one that is asked anyway. */
  offer(names) {
    const others = names.filter((name) => name !== this._page.model());
    $("against").hidden = !others.length;
    const none = element("option", "compare with ...", { value: "" });
    const choices = others.map((name) => element("option", name, { value: name }));
    $("against").querySelector("select").replaceChildren(none, ...choices);
    if (!others.includes(this._model)) this._choose("");
    $("against").querySelector("select").value = this._model;
    this._name();
  }

  /** Nothing is known of the picture yet. */
  clear() {
    this._asked?.abort();
    this._picture = null;
    this._view.clear();
  }

  /** Show what the other model finds in a picture, too; `bitmap` is its pixels, or null. */
  async look(picture, bitmap) {
    this.clear();
    this._picture = picture;
    if (!this.isOn) return;
    const { signal } = (this._asked = new AbortController());
    const pixels = bitmap && (await createImageBitmap(bitmap));
    if (signal.aborted) return pixels?.close();
    this._view.picture(pixels, picture.answer.size);
    if (!this._answers.has(picture)) {
      tell(`Asking ${this._model} ...`, true);
      try {
        const reply = await server.ask(picture.file, this._model, this._page.options(), signal);
        this._answers.set(picture, server.parsed(reply.bytes));
        tell("");
      } catch (error) {
        if (signal.aborted) return;
        tell("");
        complain(error);
      }
    }
    this._page.changed();
  }

  /**
   * Instances of both models, as `differences` has them, with colours and words: of those that
   * score `least` at a mask threshold. The given ones, if no other model has answered.
   */
  instances(found, threshold, least) {
    const answer = this.isOn && this._picture && this._answers.get(this._picture);
    if (!answer) return found;
    const iou = (one, other) => this._overlaps.iou(one, other, answer.size, threshold);
    const high = ({ score }) => score >= least;
    const low = (one) => !high(one);
    const compared = [
      ...differences(found.filter(high), answer.instances.filter(high), iou),
      ...differences(found.filter(low), [], iou),
      ...differences([], answer.instances.filter(low), iou),
    ];
    return compared.map((one) => this._described(one)).sort((a, b) => b.score - a.score);
  }

  /** Whether instances of this kind are shown; all that are not compared are. */
  shows({ kind }) {
    return !this._hidden.has(kind);
  }

  /** Those of the first model. */
  left(shown) {
    return shown.filter(({ kind }) => kind !== "right");
  }

  /** Count `all` instances by kind, and draw those that are shown, as `View.scene` does. */
  show(all, scene) {
    if (!this.isOn) return;
    const right = scene.instances.filter(({ kind, other }) => kind === "right" || other);
    const instances = right.map(({ other, ...one }) => {
      return other ? { ...other, index: one.index, colour: one.colour } : one;
    });
    this._view.scene({ ...scene, instances });
    const label = `Picture with ${instances.length} instances of ${this._model}`;
    $("other").setAttribute("aria-label", label);
    const count = (kind) => all.filter((one) => one.kind === kind).length;
    for (const button of $("tally").children) {
      button.querySelector("b").textContent = count(button.value);
      button.setAttribute("aria-pressed", !this._hidden.has(button.value));
    }
    const same = count("both");
    if (all.some(({ kind }) => kind)) {
      $("count").textContent = `${same} in both, ${all.length - same} differ`;
    }
  }

  _described(one) {
    const { kind, other, iou, score } = one;
    const described = { ...one, colour: COLOURS[kind], note: this._words(kind), facts: [] };
    if (!other) return { ...described, dashed: true };
    described.scores = `${score.toFixed(2)} ${other.score.toFixed(2)}`;
    described.facts = [
      [this._model, `${other.category} ${other.score.toFixed(4)}`],
      ["IoU", iou.toFixed(3)],
    ];
    return described;
  }

  _words(kind) {
    const only = { left: this._page.model(), right: this._model };
    return { both: "both", class: "other class" }[kind] ?? `only ${only[kind]}`;
  }

  _choose(model) {
    const before = this._model;
    if (model === before) return;
    this._model = model;
    this._answers = new WeakMap();
    this._hidden.clear();
    $("frame").classList.toggle("comparing", this.isOn);
    for (const id of ["other", "tally", "left-name", "right-name"]) $(id).hidden = !this.isOn;
    this._name();
    this._page.began();
  }

  /** Write whose picture is which, and offer the kinds of instances. */
  _name() {
    $("left-name").textContent = this._page.model();
    $("right-name").textContent = this._model;
    const kinds = Object.keys(COLOURS).map((kind) => {
      const [button, mark] = [element("button", "", { type: "button", value: kind }), element("i")];
      mark.style.setProperty("--colour", css(COLOURS[kind]));
      button.append(mark, element("span", this._words(kind)), element("b", "0"));
      return button;
    });
    $("tally").replaceChildren(...kinds);
  }

  _toggle(button) {
    if (!button) return;
    if (!this._hidden.delete(button.value)) this._hidden.add(button.value);
    this._page.changed();
  }
}
