// What keys stand for.

import { $ } from "./page.js";

const STEP = 60;
const FAR = 10;

/** Keys of the whole page. `page` has its parts, and `draw`, `select(index)` and `selected()`. */
export function keys({ view, choices, clips, editing, pictures, draw, select, selected }) {
  const toggled = (name) => () => choices.toggle(name);
  const stepped = (by) => () => {
    if (editing.shaping === null) return false;
    editing.shaping.step(by);
    draw();
  };
  return {
    "+": () => view.zoom(1.25),
    "=": () => view.zoom(1.25),
    "-": () => view.zoom(0.8),
    0: () => view.fit(),
    "?": () => $("keys").showModal(),
    k: () => clips.toggle(),
    o: () => $("file").click(),
    m: toggled("masks"),
    b: toggled("boxes"),
    l: toggled("labels"),
    e: () => editing.toggleShaping(),
    w: () => editing.toggleWrong(),
    r: () => selected() !== null && $("label").focus(),
    Delete: () => editing.removePointOrInstance(),
    Backspace: () => editing.removePointOrInstance(),
    ",": stepped(-1),
    ".": stepped(1),
    PageUp: () => pictures.step(-1),
    PageDown: () => pictures.step(1),
    "Ctrl z": (event) => (event.shiftKey ? editing.redo() : editing.undo()),
    "Ctrl y": () => editing.redo(),
    Escape: () => (editing.shaping ? editing.toggleShaping() : select(null)),
  };
}

/** Keys of the picture; while an outline is edited, of its point. */
export function moves({ view, editing, draw }) {
  const moved = (dx, dy) => (event) => {
    if (!editing.shaping) return view.pan(-dx * STEP, -dy * STEP);
    const far = event.shiftKey ? FAR : 1;
    editing.shaping.nudge(dx * far, dy * far);
    editing.commit();
    draw();
  };
  return {
    ArrowLeft: moved(-1, 0),
    ArrowRight: moved(1, 0),
    ArrowUp: moved(0, -1),
    ArrowDown: moved(0, 1),
  };
}
