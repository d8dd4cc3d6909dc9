// Choices about the page that the browser keeps: how it looks, never what was looked at.

const KEY = "maskrcnn-playground";

/** What was chosen before, by name; defaults where nothing was. */
export function remembered(defaults) {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const known = Object.entries(kept).filter(([name, value]) => {
      return name in defaults && typeof value === typeof defaults[name];
    });
    return { ...defaults, ...Object.fromEntries(known) };
  } catch {
    return { ...defaults };
  }
}

/** Keep choices until they are forgotten. */
export function remember(choices) {
  try {
    localStorage.setItem(KEY, JSON.stringify(choices));
  } catch {
    // The browser keeps nothing, as its owner wants.
  }
}
