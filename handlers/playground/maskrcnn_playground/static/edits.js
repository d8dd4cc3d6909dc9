// What people change in a model's answer. Knows no page.

/** The instances of a picture, each change to them, and the way back. */
export class Edits {
  constructor(instances) {
    this._states = [instances];
    this._at = 0;
    this._said = [""];
  }

  /** The instances that are left, best first; those that are `wrong` among them. */
  get instances() {
    return this._states[this._at];
  }

  /** Whether anything differs from what the model found. */
  get isEdited() {
    return this._at > 0;
  }

  get canUndo() {
    return this._at > 0;
  }

  get canRedo() {
    return this._at < this._states.length - 1;
  }

  /** Leave an instance out. */
  remove(index) {
    const { category } = this._one(index);
    this._put(this.instances.filter((one) => one.index !== index), `${category} is deleted`);
  }

  /** Give an instance another category: {id, name}. */
  relabel(index, { id, name }) {
    if (this._one(index).category === name) return;
    this._change(index, { category: name, categoryId: id }, `it is ${name} now`);
  }

  /** Say that an instance is wrong, or that it is not. */
  toggleWrong(index) {
    const { wrong, category } = this._one(index);
    const said = wrong ? `${category} is right again` : `${category} is marked as wrong`;
    this._change(index, { wrong: !wrong }, said);
  }

  /** Give an instance another mask and box. */
  reshape(index, mask, box) {
    this._change(index, { mask, box, reshaped: true }, "its outline is changed");
  }

  /** Take the last change back; say which it was. */
  undo() {
    if (!this.canUndo) return "";
    this._at--;
    return `Taken back: ${this._said[this._at + 1]}.`;
  }

  /** Do again what was taken back; say what it was. */
  redo() {
    if (!this.canRedo) return "";
    this._at++;
    return `Done again: ${this._said[this._at]}.`;
  }

  /** The last change, in words. */
  get said() {
    return this._said[this._at];
  }

  /** What became of each of the model's instances. */
  review() {
    const now = new Map(this.instances.map((one) => [one.index, one]));
    return this._states[0].map((found) => {
      const one = now.get(found.index);
      const verdict = !one ? "deleted" : one.wrong ? "wrong" : "kept";
      const { category, score, box } = found;
      const said = { category, score, bbox: asBbox(box), verdict };
      if (one && one.category !== category) said.relabelled = one.category;
      if (one?.reshaped) said.bbox_corrected = asBbox(one.box);
      return said;
    });
  }

  _one(index) {
    return this.instances.find((one) => one.index === index);
  }

  _change(index, change, said) {
    const changed = (one) => (one.index === index ? { ...one, ...change } : one);
    this._put(this.instances.map(changed), said);
  }

  _put(instances, said) {
    this._states.splice(this._at + 1, Infinity, instances);
    this._said.splice(this._at + 1, Infinity, said);
    this._at++;
  }
}

/** A box x1, y1, x2, y2 as x, y, width, height. */
export function asBbox([x1, y1, x2, y2]) {
  return [x1, y1, x2 - x1, y2 - y1];
}
