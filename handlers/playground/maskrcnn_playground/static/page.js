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

/** The server's API key, from whoever looks at the page; empty: they do not have it. */
export function askForKey() {
  const dialog = $("key");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((told) => {
    const closed = () => {
      const { value } = dialog.querySelector("input");
      dialog.querySelector("input").value = "";
      told(dialog.returnValue ? value.trim() : "");
    };
    dialog.addEventListener("close", closed, { once: true });
  });
}

/** Say what went wrong; null: nothing. `remedy` is a button's {text, act}, or null. */
export function complain(error, remedy = null) {
  const id = error?.requestId ? ` (request ${error.requestId})` : "";
  $("error").textContent = error ? `${error.message}${id}` : "";
  $("error").hidden = !error;
  if (!remedy) return;
  const button = element("button", remedy.text, { type: "button" });
  button.addEventListener("click", remedy.act);
  $("error").append(" ", button);
}
