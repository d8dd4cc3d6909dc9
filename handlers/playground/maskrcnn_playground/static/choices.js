// How the page looks, as people choose it: shown at its controls, and remembered.

import { $ } from "./page.js";
import { remember, remembered } from "./remembered.js";

const DEFAULTS = {
  theme: "", masks: true, boxes: true, labels: true, colours: "instance", opacity: 0.4,
  format: "", order: "name",
};

/** The choices; `changed` is called after each change. */
export class Choices {
  constructor(changed) {
    this.values = remembered(DEFAULTS);
    this._changed = changed;
    this._show();
    $("show").addEventListener("click", ({ target }) => {
      if (target.value) this.toggle(target.value);
    });
    for (const id of ["colours", "order", "format"]) {
      $(id).addEventListener("change", ({ target }) => this._choose({ [id]: target.value }));
    }
    $("opacity").addEventListener("input", ({ target }) => {
      this._choose({ opacity: Number(target.value) });
    });
    $("theme").addEventListener("click", () => {
      this._choose({ theme: isDark() ? "light" : "dark" });
    });
  }

  /** Show masks, boxes or labels, or no longer. */
  toggle(name) {
    this._choose({ [name]: !this.values[name] });
  }

  _choose(choice) {
    Object.assign(this.values, choice);
    remember(this.values);
    this._show();
    this._changed();
  }

  _show() {
    const { theme, colours, opacity, order } = this.values;
    for (const button of $("show").children) {
      button.setAttribute("aria-pressed", this.values[button.value]);
    }
    for (const [id, value] of Object.entries({ colours, opacity, order })) $(id).value = value;
    if (theme) document.documentElement.dataset.theme = theme;
    $("theme").setAttribute("aria-pressed", isDark());
  }
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
