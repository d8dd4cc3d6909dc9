// Which classes are shown: one chip for each that was found, to leave it out or to see it alone.

import { $, element } from "./page.js";

const FEW = 6;
const ORDERS = {
  name: (a, b) => (a.name < b.name ? -1 : 1),
  number: (a, b) => b.count - a.count || ORDERS.name(a, b),
  score: (a, b) => b.best - a.best || ORDERS.name(a, b),
};

/** Chips of the classes of instances, but for the names in `hidden`; `changed` after a change. */
export class Classes {
  constructor(hidden, changed) {
    this._hidden = hidden;
    this._changed = changed;
    this._names = [];
    $("classes").addEventListener("change", ({ target }) => {
      if (target.dataset.category === undefined) return;
      this._set([target.dataset.category], target.checked);
    });
    $("chips").addEventListener("click", ({ target }) => {
      if (target.dataset.only !== undefined) this._only(target.dataset.only);
    });
    $("all").addEventListener("click", () => this._set(this._names, true));
    $("none").addEventListener("click", () => this._set(this._names, false));
    $("search").addEventListener("input", () => this._search());
    $("order").addEventListener("change", () => this._arrange());
  }

  /** Offer the classes of these instances. */
  list(instances) {
    this._names = [...new Set(instances.map(({ category }) => category))];
    $("chips").replaceChildren(...this._names.map((name) => this._chip(name)));
    $("class-tools").hidden = this._names.length < 2;
    for (const id of ["search", "order"]) $(id).hidden = this._names.length <= FEW;
    $("search").value = "";
    this.count(instances);
  }

  /** Count these instances; a class without one is not offered. */
  count(instances) {
    for (const chip of $("chips").children) {
      const own = instances.filter(({ category }) => category === chip.dataset.name);
      chip.querySelector("b").textContent = own.length;
      Object.assign(chip.dataset, {
        count: own.length,
        best: Math.max(0, ...own.map(({ score }) => score)),
      });
    }
    this._search();
    this._arrange();
  }

  _chip(name) {
    const [chip, label] = [element("span", "", { className: "chip" }), element("label")];
    chip.dataset.name = label.title = name;
    const box = element("input", "", { type: "checkbox", checked: !this._hidden.has(name) });
    box.dataset.category = name;
    label.append(box, element("span", name), element("b"));
    const only = element("button", "only", { type: "button", title: `Only ${name}` });
    only.dataset.only = name;
    only.setAttribute("aria-label", `Only ${name}`);
    chip.append(label, only);
    return chip;
  }

  _set(names, isShown) {
    for (const name of names) {
      if (isShown) this._hidden.delete(name);
      else this._hidden.add(name);
    }
    for (const box of $("chips").querySelectorAll("input")) {
      box.checked = !this._hidden.has(box.dataset.category);
    }
    this._changed();
  }

  _only(name) {
    for (const other of this._names) this._hidden.add(other);
    this._set([name], true);
  }

  _search() {
    const wanted = $("search").value.trim().toLowerCase();
    for (const chip of $("chips").children) {
      const isWanted = chip.dataset.name.toLowerCase().includes(wanted);
      chip.hidden = !isWanted || chip.dataset.count === "0";
    }
  }

  /** Sort the chips, if they are not; one that has the focus keeps it. */
  _arrange() {
    const told = ({ dataset }) => ({
      name: dataset.name,
      count: Number(dataset.count),
      best: Number(dataset.best),
    });
    const order = ORDERS[$("order").value];
    const chips = [...$("chips").children];
    const sorted = chips.toSorted((a, b) => order(told(a), told(b)));
    if (sorted.some((chip, i) => chip !== chips[i])) {
      const focused = document.activeElement;
      $("chips").replaceChildren(...sorted);
      focused.focus();
    }
  }
}
