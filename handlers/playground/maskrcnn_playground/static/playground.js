// The page: which picture is shown, which part of what was found in it, and what people do.

import { isAnimated } from "./animation.js";
import { Choices } from "./choices.js";
import { Classes } from "./classes.js";
import { Clips } from "./clips.js";
import { keys, moves } from "./commands.js";
import { Comparing } from "./comparing.js";
import { annotations, Editing } from "./editing.js";
import * as elsewhere from "./elsewhere.js";
import * as inputs from "./inputs.js";
import { shortcuts } from "./keys.js";
import { listenToList } from "./listing.js";
import { asking } from "./looking.js";
import { RunMask } from "./masks.js";
import { colour, css } from "./overlay.js";
import { $, complain, tell } from "./page.js";
import * as panel from "./panel.js";
import { MOST, Pictures } from "./pictures.js";
import { Serving } from "./serving.js";
import { showing } from "./showing.js";
import { progress, Tiling } from "./tiling.js";
import * as trackfile from "./trackfile.js";
import { View } from "./view.js";

const MIN_SCORE = 0.05;

const parts = {};
const { threshold, least, instances, drawn, listed, isShown } = showing(parts);
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
  tile: null,
};
const pictures = new Pictures(look);
const tiling = new Tiling(() => serving.askAgain());
const looking = asking(pictures, state, tiling);
const clips = new Clips({
  began: (video, size) => {
    view.picture(video, size);
    pictures.current.thumbnail(video, ...size.toReversed());
    pictures.draw();
    for (const id of ["score", "mask"]) $(id).disabled = false;
    for (const id of ["take", "tiling"]) $(id).hidden = true;
    $("found").hidden = false;
  },
  changed: () => {
    if (pictures.current.part) startAt(pictures.current.part.model);
    relist();
  },
  redraw: draw,
  tell,
  failed: (error) => {
    const { current } = pictures;
    tell("");
    current.error = error;
    pictures.draw();
    const act = () => {
      Object.assign(current, { isAnimated: false, error: null });
      pictures.show(current);
    };
    complain(error, current.isAnimated ? { text: "Look at its first frame", act } : null);
  },
  complain,
  model: () => state.model,
  options: request,
  least,
  follows: () => Boolean(state.server.tracks),
});
const choices = new Choices(relist);
const classes = new Classes(state.hidden, show);
const comparing = new Comparing(view, {
  model: () => state.model,
  options: () => ({ ...request(), ...pictures.current?.tiling }),
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
    relist();
    pictures.draw();
  },
});

Object.assign(parts, { state, pictures, comparing, choices, clips });
const serving = new Serving({ state, pictures, comparing, choices, editing, tiling, given, show });

// Asking

/** Show a picture, and ask what is in it if that is not known yet. */
async function look(picture) {
  Object.assign(state, { hovered: null, selected: null });
  editing.shaping = null;
  complain(null);
  clips.leave();
  looking.leave();
  tiling.offer(state.server.streams);
  reset();
  if (picture.isClip) {
    tell("Opening the clip ...", true);
    await state.named;
    if (pictures.current === picture) await clips.look(picture);
    return;
  }
  tell(picture.answer ? "" : "Looking ...", true);
  await looking.look(picture, {
    seen: (bitmap) => view.picture(bitmap, [bitmap.height, bitmap.width]),
    tell,
    options: request(),
    grown: (...place) => grown(picture, ...place),
    answered: (bitmap) => answered(picture, bitmap),
    failed: (error, remedy) => {
      tell("");
      progress(null);
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
  state.tile = null;
  progress(null);
  comparing.clear();
  $("welcome").hidden = true;
  $("frame").classList.remove("empty");
  for (const id of ["tools", "take"]) $(id).hidden = false;
  for (const id of ["found", "times"]) $(id).hidden = true;
  for (const id of ["score", "mask"]) $(id).disabled = true;
  panel.list([]);
  show();
}

/** Begin with a model's own threshold, unless people have chosen one. */
function startAt(model) {
  if (!state.moved) $("score").value = Math.max(MIN_SCORE, model.score_threshold);
}

/** Another tile is done: show what is known so far. */
function grown({ part }, tile, done, of) {
  progress(done, of);
  tell(`${done} of ${of} tiles`, true);
  state.tile = done < of ? tile : null;
  startAt(part.model);
  $("score").disabled = $("found").hidden = !part.instances.length;
  list();
  show();
}

function answered(picture, bitmap) {
  const { answer, reply } = picture;
  state.tile = null;
  progress(null);
  view.picture(bitmap, answer.size);
  tell(bitmap ? "" : "This picture cannot be shown; what was found is drawn on gray.");
  startAt(answer.model);
  const isFinished = answer.instances.some(({ mask }) => mask instanceof RunMask);
  $("score").disabled = false;
  $("mask").disabled = isFinished || !answer.instances.some(({ mask }) => mask);
  $("asked").textContent = isFinished
    ? `${picture.tiling.tile ? "Tiles give" : "This model gives"} finished masks: their threshold cannot be changed here.`
    : `Both act on one answer, with all that scores ${MIN_SCORE} or more, without asking again.`;
  $("found").hidden = $("times").hidden = false;
  panel.times(reply);
  list();
  show();
  comparing.look(picture, bitmap);
}

// What is shown

/** List the instances and their classes anew. */
function list() {
  const all = listed();
  panel.list(all);
  classes.list(all.filter(({ score }) => score >= MIN_SCORE));
}

function relist() {
  list();
  show();
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
  classes.count(all.filter((one) => one.track || one.score >= least()));
  $("found-name").textContent = clips.tracks ? "Tracks" : "Instances";
  const count = comparing.left(shown).length;
  const said = pictures.current?.answer ? `Picture with ${count} instances` : "Picture";
  $("canvas").setAttribute("aria-label", said);
  draw();
  clips.draw((all) => all.filter(isShown).length);
  const { current } = pictures;
  trackfile.show(current?.isClip ? current : null, state.server.tracks);
  const opened = pictures.all.filter((picture) => !picture.isClip);
  const asked = { picture: current?.isClip ? null : current, all: opened, model: state.model, options: options() };
  elsewhere.show({ ...asked, edited });
}

/** Of a request that finds what is shown. */
function options() {
  const found = pictures.current?.answer?.instances ?? [];
  const kept = found.filter(({ category }) => !state.hidden.has(category));
  const ids = [...new Set(kept.map(({ categoryId }) => categoryId))];
  const isWhole = kept.length === found.length || !ids.length;
  const chosen = {
    score_threshold: Number($("score").value),
    mask_threshold: threshold(),
    ...pictures.current?.tiling,
  };
  return isWhole ? chosen : { ...chosen, classes: ids.sort((a, b) => a - b).join(",") };
}

/** A clip's tracks as a file in a format: those of the classes that are shown. */
function tracksAs(format) {
  const kept = clips.listed.filter(({ category }) => !state.hidden.has(category));
  return clips.file(format, threshold(), [...new Set(kept.map(({ categoryId }) => categoryId))]);
}

/** What is exported of an edited picture: what is shown and not wrong. Null: it is not edited. */
function edited({ answer, edits }) {
  if (!edits?.isEdited) return null;
  const kept = edits.instances.filter((one) => isShown(one) && !one.wrong);
  return { image_size: answer.size, annotations: annotations(kept, answer.size, threshold()) };
}

/** Draw, with the instance that is pointed at or selected standing out. */
function draw() {
  const all = drawn();
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
    tile: state.tile,
  };
  view.scene({ ...scene, instances: comparing.left(shown) });
  comparing.show(all.filter(({ score }) => score >= least()), scene);
  panel.mark(marked?.index ?? null, state.selected);
  const described = selected ?? marked;
  clips.mark(state.selected, css(colour(state.selected ?? 0)));
  const isLow = Boolean(described) && view.isLow(described.box);
  const { answer, part } = pictures.current ?? {};
  panel.describe(described, (answer ?? part)?.size, threshold(), isLow);
}

function hover(index) {
  if (state.hovered === index) return;
  state.hovered = index;
  draw();
}

function select(index) {
  Object.assign(state, { selected: index, hovered: null });
  draw();
  if (index === null) return;
  panel.reveal(index);
  clips.reveal(index);
}

/** Select the instance below one that is about to go, or above. */
function selectNext(index) {
  const shown = instances().filter(isShown);
  const at = shown.findIndex((one) => one.index === index);
  select((shown[at + 1] ?? shown[at - 1])?.index ?? null);
}

// What hands do

function listen() {
  for (const id of ["score", "mask"]) $(id).addEventListener("input", show);
  $("score").addEventListener("input", () => (state.moved = true));
  const reveal = (index) => {
    const box = drawn().find((one) => one.index === index)?.box;
    if (box) view.reveal(box);
  };
  listenToList({ hover, select, reveal, selected: () => state.selected });
  $("out").addEventListener("click", () => view.zoom(0.8));
  $("fit").addEventListener("click", () => view.fit());
  $("in").addEventListener("click", () => view.zoom(1.25));
  $("models").addEventListener("change", ({ target }) => serving.changeModel(target));
  $("help").addEventListener("click", () => $("keys").showModal());
  $("close-others").addEventListener("click", () => {
    const isLost = pictures.all.some((one) => one !== pictures.current && one.edits?.isEdited);
    if (isLost && !confirm("Your edits of the other pictures are lost.")) return;
    pictures.closeOthers();
    show();
  });
  const page = { view, choices, clips, editing, pictures, draw, select, selected: () => state.selected };
  shortcuts(keys(page), moves(page));
  inputs.listen(given);
  addEventListener("beforeunload", (event) => pictures.isEdited && event.preventDefault());
}

async function given(files) {
  const kinds = state.server.animations ? await Promise.all([...files].map(isAnimated)) : [];
  const tooMany = pictures.add(files, new Set([...files].filter((_, i) => kinds[i])));
  if (tooMany) complain(new Error(`${tooMany} pictures are left out: ${MOST} is the most.`));
}

// The start

async function start() {
  listen();
  elsewhere.listen();
  trackfile.listen({ made: tracksAs, name: () => pictures.current.file.name });
  show();
  await serving.begin();
}

start();
