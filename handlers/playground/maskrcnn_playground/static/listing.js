// What hands do in the list of instances.

import { $ } from "./page.js";

/** Listen. `page` has `hover(index)`, `selected()`, `select(index)` and `reveal(index)`. */
export function listenToList(page) {
  const row = ({ target }) => target.closest("li")?.value ?? null;
  $("list").addEventListener("pointerover", (event) => {
    if (event.pointerType !== "touch") page.hover(row(event));
  });
  $("list").addEventListener("pointerleave", () => page.hover(null));
  $("list").addEventListener("click", (event) => {
    page.select(row(event) === page.selected() ? null : row(event));
  });
  $("list").addEventListener("keydown", (event) => walk(event, page));
}

/** Let arrows and Enter choose. */
function walk(event, { selected, select, reveal }) {
  const rows = [...$("list").children].filter((row) => !row.hidden);
  const at = rows.findIndex((row) => row.value === selected());
  const last = rows.length - 1;
  const places = {
    ArrowDown: Math.min(at + 1, last),
    ArrowUp: Math.max(at - 1, 0),
    Home: 0,
    End: last,
  };
  if (event.key in places && rows.length) {
    select(rows[places[event.key]].value);
  } else if (event.key === "Enter" && at >= 0) {
    reveal(selected());
  } else {
    return;
  }
  event.preventDefault();
}
