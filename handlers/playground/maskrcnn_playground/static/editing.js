// Changing what was found: the buttons at the selected instance, and the points of its outline.

import { asBbox } from "./edits.js";
import { boxAround, filled, outline, runs } from "./outline.js";
import { $, element, tell } from "./page.js";
import { Shaping } from "./shaping.js";

/**
 * Edits of the picture that is shown. `page` has `picture()`, `selected()`, `select(index)`,
 * `threshold()`, `leave(index)` before one goes, `reveal(box)`, `changed()` after an edit, and
 * `redraw()`.
 */
export class Editing {
  constructor(page) {
    this._page = page;
    this.shaping = null;
    this._categories = [];
    $("outline").addEventListener("click", () => this.toggleShaping());
    $("wrong").addEventListener("click", () => this.toggleWrong());
    $("delete").addEventListener("click", () => this.remove());
    $("label").addEventListener("change", () => this._relabel());
    $("label").addEventListener("focus", () => $("label").select());
    $("undo").addEventListener("click", () => this.undo());
    $("redo").addEventListener("click", () => this.redo());
  }

  /** Offer these categories, {id, name}, as labels. */
  offer(categories) {
    this._categories = categories;
    const choices = categories.map(({ name }) => element("option", "", { value: name }));
    $("labels").replaceChildren(...choices);
  }

  /** Show the buttons for an instance, or for none. */
  show(one) {
    if (this.shaping && one?.index !== this.shaping.index) this.shaping = null;
    const edits = this._page.picture()?.edits;
    $("edit").hidden = !one || !edits;
    $("undo").hidden = $("redo").hidden = !edits?.canUndo && !edits?.canRedo;
    $("undo").disabled = !edits?.canUndo;
    $("redo").disabled = !edits?.canRedo;
    if (!one) return;
    if (document.activeElement !== $("label")) $("label").value = one.category;
    $("wrong").setAttribute("aria-pressed", Boolean(one.wrong));
    $("outline").hidden = !one.mask;
    $("outline").setAttribute("aria-pressed", Boolean(this.shaping));
  }

  remove() {
    const index = this._page.selected();
    if (index === null) return false;
    this._page.leave(index);
    return this._do((edits) => edits.remove(index));
  }

  toggleWrong() {
    const index = this._page.selected();
    return index !== null && this._do((edits) => edits.toggleWrong(index));
  }

  undo() {
    return this._do((edits) => tell(edits.undo()), "");
  }

  redo() {
    return this._do((edits) => tell(edits.redo()), "");
  }

  /** Show the points of the selected instance's outline, or no longer. */
  toggleShaping() {
    const { answer, edits } = this._page.picture() ?? {};
    const one = edits?.instances.find(({ index }) => index === this._page.selected());
    if (!one?.mask) return false;
    if (this.shaping) {
      this.shaping = null;
    } else {
      const rings = outline(one.mask, answer.size, this._page.threshold());
      if (!rings.length) return tell("This mask has no pixels at this threshold.");
      this.shaping = new Shaping(rings, answer.size);
      this.shaping.index = one.index;
      this._page.reveal(one.box);
      $("frame").focus({ preventScroll: true });
    }
    this._page.redraw();
  }

  /** Take what was changed of the outline for the instance's mask and box. */
  commit() {
    if (!this.shaping?.isChanged) return;
    const { index, rings } = this.shaping;
    const { size } = this._page.picture().answer;
    this.shaping.isChanged = false;
    this._do((edits) => edits.reshape(index, filled(rings, size), boxAround(rings, size)), null);
  }

  /** Delete the outline's active point if there is one, else the instance. */
  removePointOrInstance() {
    if (!this.shaping) return this.remove();
    if (this.shaping.removePoint()) this.commit();
  }

  _relabel() {
    const index = this._page.selected();
    const name = $("label").value.trim();
    if (index === null || !name) return;
    this._do((edits) => edits.relabel(index, this._category(name)));
    $("list").focus({ preventScroll: true });
  }

  /** The category of this name, with a number of its own if the model has none. */
  _category(name) {
    const known = this._categories.find((category) => category.name === name);
    if (known) return known;
    const id = 1 + Math.max(0, ...this._categories.map((category) => category.id));
    this.offer([...this._categories, { id, name }]);
    return { id, name };
  }

  _do(change, said) {
    const { edits } = this._page.picture() ?? {};
    if (!edits) return false;
    if (said !== null) this.shaping = null;
    change(edits);
    if (said === undefined) tell(`${capital(edits.said)}. Ctrl Z takes it back.`);
    this._page.changed();
    return true;
  }
}

/** Instances as a reply in the format `sagemaker` has them. */
export function annotations(instances, size, threshold) {
  return instances.map(({ box, category, categoryId, score, mask }) => ({
    bbox: asBbox(box),
    category_id: categoryId,
    category_name: category,
    score,
    ...(mask && { segmentation: { counts: runs(mask, size, threshold), size } }),
  }));
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
