// The page's own elements.

/** The element of this id. */
export const $ = (id) => document.getElementById(id);

/** A new element with text and properties; text is never markup. */
export function element(name, text = "", properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.textContent = text;
  return made;
}

/** Say what is going on; nothing, if the text is empty. */
export function tell(text, working = false) {
  $("status").textContent = text;
  $("status").hidden = !text;
  $("status").classList.toggle("working", working);
}

/** Say what went wrong; null: nothing. */
export function complain(error) {
  const id = error?.requestId ? ` (request ${error.requestId})` : "";
  $("error").textContent = error ? `${error.message}${id}` : "";
  $("error").hidden = !error;
}
