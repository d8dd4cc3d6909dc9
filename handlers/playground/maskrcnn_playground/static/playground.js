// The page: which picture is shown, which part of what was found in it, and what people do.

import { Choices } from "./choices.js";
import { Classes } from "./classes.js";
import { keys, moves } from "./commands.js";
import { Comparing } from "./comparing.js";
import { annotations, Editing } from "./editing.js";
import * as elsewhere from "./elsewhere.js";
import * as inputs from "./inputs.js";
import { shortcuts } from "./keys.js";
import { asking } from "./looking.js";
import { RunMask } from "./masks.js";
import { describeModel, nameModels, showSamples } from "./models.js";
import { colour } from "./overlay.js";
import { $, complain, tell } from "./page.js";
import * as panel from "./panel.js";
import { MOST, Pictures } from "./pictures.js";
import * as server from "./server.js";
import { View } from "./view.js";

const MIN_SCORE = 0.05;

const view = new View($("canvas"), {
  hover,
  pick: select,
  zoom: (scale) => ($("fit").textContent = `${Math.round(100 * scale)} %`),
  grab: (place, kind) => Boolean(editing.shaping?.grab(place, view.place, kind)),
  drag: (point) => {
    editing.shaping.move(point);
    draw();
  },
  drop: () => {
    editing.commit();
    draw();
  },
});
const state = {
  server: { format: "", formats: {}, drawn: [], max_payload_mb: Infinity, samples: [] },
  model: null,
  named: Promise.resolve(),
  hidden: new Set(),
  hovered: null,
  selected: null,
  moved: false,
};
const pictures = new Pictures(look);
const looking = asking(pictures, state);
const choices = new Choices(() => {
  list();
  show();
});
const classes = new Classes(state.hidden, show);
const comparing = new Comparing(view, {
  model: () => state.model,
  options: request,
  hover,
  pick: select,
  began: () => {
    if (pictures.current) pictures.show(pictures.current);
  },
  changed: show,
});
const editing = new Editing({
  picture: () => pictures.current,
  selected: () => (comparing.isOn ? null : state.selected),
  threshold,
  reveal: (box) => view.reveal(box),
  leave: selectNext,
  redraw: draw,
  changed: () => {
    list();
    show();
    pictures.draw();
  },
});

// Asking

/** Show a picture, and ask what is in it if that is not known yet. */
async function look(picture) {
  Object.assign(state, { hovered: null, selected: null });
  editing.shaping = null;
  complain(null);
  reset();
  tell(picture.answer ? "" : "Looking ...", true);
  await looking.look(picture, {
    seen: (bitmap) => view.picture(bitmap, [bitmap.height, bitmap.width]),
    tell,
    options: request(),
    answered: (bitmap) => answered(picture, bitmap),
    failed: (error, remedy) => {
      tell("");
      complain(error, remedy);
    },
  });
  pictures.draw();
  show();
}

/** Options of a request for all that the page shows. */
function request() {
  return { score_threshold: MIN_SCORE, mask_threshold: threshold(), format: "soft" };
}

/** Nothing is known of the picture yet. */
function reset() {
  view.clear();
  comparing.clear();
  $("welcome").hidden = true;
  $("frame").classList.remove("empty");
  for (const id of ["tools", "take"]) $(id).hidden = false;
  for (const id of ["found", "times"]) $(id).hidden = true;
  for (const id of ["score", "mask"]) $(id).disabled = true;
  panel.list([]);
  show();
}

function answered(picture, bitmap) {
  const { answer, reply } = picture;
  view.picture(bitmap, answer.size);
  tell(bitmap ? "" : "This picture cannot be shown; what was found is drawn on gray.");
  if (!state.moved) $("score").value = Math.max(MIN_SCORE, answer.model.score_threshold);
  const isFinished = answer.instances.some(({ mask }) => mask instanceof RunMask);
  $("score").disabled = false;
  $("mask").disabled = isFinished || !answer.instances.some(({ mask }) => mask);
  $("asked").textContent = isFinished
    ? "This model gives finished masks: their threshold cannot be changed here."
    : `Both act on one answer, with all that scores ${MIN_SCORE} or more, without asking again.`;
  $("found").hidden = $("times").hidden = false;
  panel.times(reply);
  list();
  show();
  comparing.look(picture, bitmap);
}

// What is shown

function threshold() {
  return Number($("mask").value);
}

// Scores are 32-bit floats, and so the server compares them.
const least = () => Math.fround(Number($("score").value));

/** The instances of a picture, with their colours. */
function instances(picture = pictures.current) {
  const number = (one) => (choices.values.colours === "class" ? one.categoryId : one.index);
  return (picture?.edits?.instances ?? []).map((one) => ({ ...one, colour: colour(number(one)) }));
}

/** The instances that are listed: with those of the other model, if there is one. */
function listed() {
  return comparing.instances(instances(), threshold(), least());
}

function isShown(one) {
  return one.score >= least() && !state.hidden.has(one.category) && comparing.shows(one);
}

/** List the instances and their classes anew. */
function list() {
  const all = listed();
  panel.list(all);
  classes.list(all.filter(({ score }) => score >= MIN_SCORE));
}

/** Draw, list and count what the controls let through. */
function show() {
  for (const id of ["score", "mask"]) {
    document.querySelector(`output[for=${id}]`).textContent = Number($(id).value).toFixed(2);
  }
  const all = listed();
  const shown = all.filter(isShown);
  if (comparing.isOn) panel.list(all);
  panel.filter(all, shown, least());
  classes.count(all.filter(({ score }) => score >= least()));
  const count = comparing.left(shown).length;
  const said = pictures.current?.answer ? `Picture with ${count} instances` : "Picture";
  $("canvas").setAttribute("aria-label", said);
  draw();
  const { current, all: opened } = pictures;
  const asked = { picture: current, all: opened, model: state.model, options: options() };
  elsewhere.show({ ...asked, edited });
}

/** Of a request that finds what is shown. */
function options() {
  const found = pictures.current?.answer?.instances ?? [];
  const kept = found.filter(({ category }) => !state.hidden.has(category));
  const ids = [...new Set(kept.map(({ categoryId }) => categoryId))];
  const isWhole = kept.length === found.length || !ids.length;
  const chosen = { score_threshold: Number($("score").value), mask_threshold: threshold() };
  return isWhole ? chosen : { ...chosen, classes: ids.sort((a, b) => a - b).join(",") };
}

/** What is exported of an edited picture: what is shown and not wrong. Null: it is not edited. */
function edited({ answer, edits }) {
  if (!edits?.isEdited) return null;
  const kept = edits.instances.filter((one) => isShown(one) && !one.wrong);
  return { image_size: answer.size, annotations: annotations(kept, answer.size, threshold()) };
}

/** Draw, with the instance that is pointed at or selected standing out. */
function draw() {
  const all = listed();
  const shown = all.filter(isShown);
  const marked = shown.find(({ index }) => index === (state.hovered ?? state.selected));
  const { masks, boxes, labels, opacity } = choices.values;
  const selected = shown.find(({ index }) => index === state.selected);
  editing.show(comparing.isOn ? undefined : selected);
  const scene = {
    instances: shown,
    marked: marked?.index ?? null,
    threshold: threshold(),
    opacity,
    show: { masks, boxes, labels },
    shaping: editing.shaping,
  };
  view.scene({ ...scene, instances: comparing.left(shown) });
  comparing.show(all.filter(({ score }) => score >= least()), scene);
  panel.mark(marked?.index ?? null, state.selected);
  const described = selected ?? marked;
  const isLow = Boolean(described) && view.isLow(described.box);
  panel.describe(described, pictures.current?.answer?.size, threshold(), isLow);
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

/** Select the instance below one that is about to go, or above. */
function selectNext(index) {
  const shown = instances().filter(isShown);
  const at = shown.findIndex((one) => one.index === index);
  select((shown[at + 1] ?? shown[at - 1])?.index ?? null);
}

// What hands do

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
    view.reveal(listed().find(({ index }) => index === state.selected).box);
  } else {
    return;
  }
  event.preventDefault();
}

function listen() {
  for (const id of ["score", "mask"]) $(id).addEventListener("input", show);
  $("score").addEventListener("input", () => (state.moved = true));
  const row = ({ target }) => target.closest("li")?.value ?? null;
  $("list").addEventListener("pointerover", (event) => {
    if (event.pointerType !== "touch") hover(row(event));
  });
  $("list").addEventListener("pointerleave", () => hover(null));
  $("list").addEventListener("click", (event) => {
    select(row(event) === state.selected ? null : row(event));
  });
  $("list").addEventListener("keydown", walk);
  $("out").addEventListener("click", () => view.zoom(0.8));
  $("fit").addEventListener("click", () => view.fit());
  $("in").addEventListener("click", () => view.zoom(1.25));
  $("models").addEventListener("change", ({ target }) => changeModel(target));
  $("help").addEventListener("click", () => $("keys").showModal());
  $("close-others").addEventListener("click", () => {
    const isLost = pictures.all.some((one) => one !== pictures.current && one.edits?.isEdited);
    if (isLost && !confirm("Your edits of the other pictures are lost.")) return;
    pictures.closeOthers();
    show();
  });
  const page = { view, choices, editing, pictures, draw, select, selected: () => state.selected };
  shortcuts(keys(page), moves(page));
  inputs.listen(given);
  addEventListener("beforeunload", (event) => pictures.isEdited && event.preventDefault());
}

function given(files) {
  const tooMany = pictures.add(files);
  if (tooMany) complain(new Error(`${tooMany} pictures are left out: ${MOST} is the most.`));
}

// The start

async function start() {
  listen();
  elsewhere.listen();
  show();
  let names = [];
  state.named = nameModels().then((all) => {
    names = all;
    state.model = names[0] ?? null;
  });
  try {
    state.server = await server.describe();
    $("mask").value = state.server.mask_threshold;
    showSamples(state.server.samples, "samples", given);
    elsewhere.offer(state.server, choices.values.format || state.server.format);
    show();
    await state.named;
    comparing.offer(names);
    await describe();
    if (!pictures.current) tell("");
  } catch (error) {
    complain(error);
  }
}

async function changeModel(chosen) {
  const isSure = !pictures.isEdited || confirm("Your edits are lost with the other model's answers.");
  if (!isSure) {
    chosen.value = state.model;
    return;
  }
  state.model = chosen.value;
  comparing.offer([...chosen.options].map(({ value }) => value));
  for (const picture of pictures.all) picture.forget();
  if (pictures.current) pictures.show(pictures.current);
  await describe().catch(complain);
}

async function describe() {
  editing.offer(await describeModel(state.model, state.server, given));
}

start();
