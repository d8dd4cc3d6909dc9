// The page: what was asked, what came back, and which part of it is shown.

import * as elsewhere from "./elsewhere.js";
import { RunMask } from "./masks.js";
import { $, complain, element, tell } from "./page.js";
import * as panel from "./panel.js";
import * as server from "./server.js";
import { View } from "./view.js";

const LEAST_SCORE = 0.05;
const STEP = 60;

const view = new View($("canvas"), {
  hover,
  pick: select,
  zoom: (scale) => ($("fit").textContent = `${Math.round(100 * scale)} %`),
});
const state = {
  server: { format: "", formats: {}, mask_threshold: 0.5, max_payload_mb: Infinity, samples: [] },
  model: null,
  named: Promise.resolve(),
  asking: null,
  file: null,
  answer: null,
  hidden: new Set(),
  hovered: null,
  selected: null,
  moved: false,
};

// Asking

/** Show a picture, and ask what is in it; an older question is given up. */
async function open(file) {
  state.asking?.abort();
  const asking = (state.asking = new AbortController());
  const isCurrent = () => state.asking === asking;
  Object.assign(state, { file, answer: null, hovered: null, selected: null });
  complain(null);
  reset();
  try {
    const limit = state.server.max_payload_mb;
    if (file.size > limit * 2 ** 20) {
      const why = `has more than the ${limit} MiB that the server reads.`;
      throw new server.Refused(`${file.name} ${why}`);
    }
    tell("Looking ...", true);
    // Upright, as the server sees it. What the browser cannot decode, the server perhaps can.
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(
      () => null,
    );
    if (!isCurrent()) {
      bitmap?.close();
      return;
    }
    if (bitmap) view.picture(bitmap, [bitmap.height, bitmap.width]);
    await state.named;
    if (!isCurrent()) return;
    tell("Looking ...", true);
    const asked = { score_threshold: LEAST_SCORE, mask_threshold: threshold(), format: "soft" };
    const reply = await server.ask(file, state.model, asked, asking.signal);
    if (isCurrent()) answered(server.parsed(reply.bytes), reply, bitmap);
  } catch (error) {
    if (!isCurrent() || error.name === "AbortError") return;
    tell("");
    complain(error);
  }
}

/** Nothing is known of the picture yet. */
function reset() {
  view.clear();
  $("welcome").hidden = true;
  $("frame").classList.remove("empty");
  for (const id of ["tools", "take"]) $(id).hidden = false;
  for (const id of ["found", "times"]) $(id).hidden = true;
  for (const id of ["score", "mask"]) $(id).disabled = true;
  panel.list([], state.hidden);
  show();
}

function answered(answer, reply, bitmap) {
  const [height, width] = answer.size;
  const isSeen = bitmap?.height === height && bitmap?.width === width;
  if (!isSeen) view.picture(null, answer.size);
  tell(isSeen ? "" : "The browser cannot show this picture; what was found is drawn on gray.");
  state.answer = answer;
  if (!state.moved) $("score").value = Math.max(LEAST_SCORE, answer.model.score_threshold);
  const isFinished = answer.instances.some(({ mask }) => mask instanceof RunMask);
  $("score").disabled = false;
  $("mask").disabled = isFinished || !answer.instances.some(({ mask }) => mask);
  $("asked").textContent = isFinished
    ? "This model gives finished masks: their threshold cannot be changed here."
    : `The server was asked for all that scores ${LEAST_SCORE} or more. Both thresholds act on ` +
      "that answer, without asking again.";
  $("found").hidden = $("times").hidden = false;
  panel.list(answer.instances, state.hidden);
  panel.times(reply);
  show();
}

// What is shown

const threshold = () => Number($("mask").value);
// Scores are 32-bit floats, and so the server compares them.
const least = () => Math.fround(Number($("score").value));

function visible() {
  const isShown = ({ score, category }) => score >= least() && !state.hidden.has(category);
  return (state.answer?.instances ?? []).filter(isShown);
}

/** Draw, list and count what the controls let through. */
function show() {
  for (const id of ["score", "mask"]) {
    document.querySelector(`output[for=${id}]`).textContent = Number($(id).value).toFixed(2);
  }
  const shown = visible();
  panel.filter(state.answer?.instances ?? [], shown, least());
  const said = state.answer ? `Picture with ${shown.length} instances` : "Picture";
  $("canvas").setAttribute("aria-label", said);
  draw();
  elsewhere.show(state.file, state.model, options());
}

/** Of a request that finds what is shown. */
function options() {
  const found = state.answer?.instances ?? [];
  const kept = found.filter(({ category }) => !state.hidden.has(category));
  const ids = [...new Set(kept.map(({ categoryId }) => categoryId))];
  const isWhole = kept.length === found.length || !ids.length;
  const chosen = { score_threshold: Number($("score").value), mask_threshold: threshold() };
  return isWhole ? chosen : { ...chosen, classes: ids.sort((a, b) => a - b).join(",") };
}

/** Draw, with the instance that is pointed at or selected standing out. */
function draw() {
  const instances = visible();
  const marked = instances.find(({ index }) => index === (state.hovered ?? state.selected));
  const pressed = (button) => [button.value, button.getAttribute("aria-pressed") === "true"];
  view.scene({
    instances,
    marked: marked?.index ?? null,
    threshold: threshold(),
    show: Object.fromEntries([...$("show").children].map(pressed)),
  });
  panel.mark(marked?.index ?? null, state.selected);
  panel.describe(marked, state.answer?.size, threshold());
}

function hover(index) {
  if (state.hovered === index) return;
  state.hovered = index;
  draw();
}

function select(index) {
  Object.assign(state, { selected: index, hovered: null });
  draw();
  if (index !== null) panel.reveal(index);
}

function toggle(button) {
  if (!button.value) return;
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  draw();
}

// Keys

/** In the list of instances. */
function walk(event) {
  const rows = [...$("list").children].filter((row) => !row.hidden);
  const at = rows.findIndex((row) => row.value === state.selected);
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
    view.reveal(state.answer.instances[state.selected].box);
  } else {
    return;
  }
  event.preventDefault();
}

/** On the whole page, while no control of another kind has the focus. */
function shortcut(event) {
  const focused = document.activeElement;
  const isFree = [document.body, $("frame"), $("list")].includes(focused);
  if (!isFree || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const pressed = (value) => () => toggle($("show").querySelector(`[value=${value}]`));
  const keys = {
    "+": () => view.zoom(1.25),
    "=": () => view.zoom(1.25),
    "-": () => view.zoom(0.8),
    0: () => view.fit(),
    "?": () => $("keys").showModal(),
    o: () => $("file").click(),
    m: pressed("masks"),
    b: pressed("boxes"),
    l: pressed("labels"),
    Escape: () => select(null),
  };
  const moves = {
    ArrowLeft: () => view.pan(STEP, 0),
    ArrowRight: () => view.pan(-STEP, 0),
    ArrowUp: () => view.pan(0, STEP),
    ArrowDown: () => view.pan(0, -STEP),
  };
  const act = keys[event.key] ?? (focused === $("frame") ? moves[event.key] : undefined);
  if (!act) return;
  event.preventDefault();
  act();
}

// Everything else that hands do

function listen() {
  for (const button of document.querySelectorAll(".open")) {
    button.addEventListener("click", () => $("file").click());
  }
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    $("file").value = "";
    if (file) open(file);
  });
  for (const id of ["score", "mask"]) $(id).addEventListener("input", show);
  $("score").addEventListener("input", () => (state.moved = true));
  $("classes").addEventListener("change", ({ target }) => {
    if (target.checked) state.hidden.delete(target.dataset.category);
    else state.hidden.add(target.dataset.category);
    show();
  });
  const row = ({ target }) => target.closest("li")?.value ?? null;
  $("list").addEventListener("pointerover", (event) => hover(row(event)));
  $("list").addEventListener("pointerleave", () => hover(null));
  $("list").addEventListener("click", (event) => {
    select(row(event) === state.selected ? null : row(event));
  });
  $("list").addEventListener("keydown", walk);
  $("out").addEventListener("click", () => view.zoom(0.8));
  $("fit").addEventListener("click", () => view.fit());
  $("in").addEventListener("click", () => view.zoom(1.25));
  $("show").addEventListener("click", ({ target }) => toggle(target));
  $("models").addEventListener("change", ({ target }) => {
    state.model = target.value;
    if (state.file) open(state.file);
  });
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    $("theme").setAttribute("aria-pressed", isDark());
  });
  $("help").addEventListener("click", () => $("keys").showModal());
  document.addEventListener("keydown", shortcut);
  document.addEventListener("paste", ({ clipboardData: { files } }) => {
    if (files[0]) open(files[0]);
  });
  listenToDrops();
}

function listenToDrops() {
  let inside = 0;
  const enter = (change) => (event) => {
    event.preventDefault();
    inside = Math.max(0, inside + change);
    document.body.classList.toggle("dragging", inside > 0);
  };
  document.addEventListener("dragenter", enter(1));
  document.addEventListener("dragleave", enter(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    enter(-Infinity)(event);
    const [file] = event.dataTransfer.files;
    if (file) open(file);
  });
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// The start

async function start() {
  $("theme").setAttribute("aria-pressed", isDark());
  listen();
  elsewhere.listen();
  show();
  state.named = nameModel();
  try {
    state.server = await server.describe();
    $("mask").value = state.server.mask_threshold;
    showSamples();
    elsewhere.offer(state.server.formats, state.server.format);
    show();
    await state.named;
    if (!state.file) tell("");
  } catch (error) {
    complain(error);
  }
}

/** Wait for the model. One has a name; of several one is chosen. */
async function nameModel() {
  const said = await server.ready((why) => tell(why, true));
  if (said.model) {
    $("model").textContent = `${said.model}, ${said.backend}`;
    return;
  }
  const names = await server.models();
  if (!names.length) {
    throw new server.Refused("No model is loaded: POST one to /models, and load this page again.");
  }
  $("models").hidden = false;
  $("models").querySelector("select").append(...names.map((name) => element("option", name)));
  state.model = names[0];
}

function showSamples() {
  const sample = (name, number) => {
    const [item, button] = [element("li"), element("button", "", { type: "button", title: name })];
    const src = server.address(`playground/samples/${number}`);
    button.append(element("img", "", { src, alt: `Sample ${name}` }));
    button.addEventListener("click", () => {
      server.sample(number, name).then(open).catch(complain);
    });
    item.append(button);
    return item;
  };
  for (const place of document.querySelectorAll(".samples")) {
    place.replaceChildren(...state.server.samples.map(sample));
    place.parentElement.hidden &&= !state.server.samples.length;
  }
}

start();
