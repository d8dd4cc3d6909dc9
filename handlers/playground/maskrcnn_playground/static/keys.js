// Shortcuts of the whole page.

import { $ } from "./page.js";

const TYPED = "input:not([type=checkbox], [type=range]), select, textarea";

/**
 * Call what a key stands for: `keys` anywhere but where people type or choose, `moves` while the
 * picture has the focus. A function that returns false has not used the key.
 */
export function shortcuts(keys, moves) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey) return;
    if (document.activeElement.matches(TYPED) || document.querySelector("dialog[open]")) return;
    const isControl = event.ctrlKey || event.metaKey;
    const name = isControl ? `Ctrl ${event.key.toLowerCase()}` : event.key;
    const isPicture = document.activeElement === $("frame");
    const act = keys[name] ?? keys[name.toLowerCase()] ?? (isPicture ? moves[name] : undefined);
    if (!act || act(event) === false) return;
    event.preventDefault();
  });
}
