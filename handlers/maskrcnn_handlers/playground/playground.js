// The page: what was asked, what came back, and which part of it is shown.

import { area, RunMask } from "./masks.js";
import { colour, css } from "./overlay.js";
import * as server from "./server.js";
import * as snippets from "./snippets.js";
import { View } from "./view.js";

const LEAST_SCORE = 0.05;
const STAGES = {
  transfer: ["sending and receiving", "#8b93a7"],
  wait: ["waiting for its turn", "#d9a400"],
  decode: ["decoding the picture", "#1f9e89"],
  preprocess: ["resizing", "#35b779"],
  network: ["neural network", "#2456d6"],
  model: ["rest of the model", "#7e57c2"],
  paste: ["pasting masks", "#d81b60"],
  encode: ["writing the answer", "#f4743b"],
  rest: ["rest of the server", "#5d6475"],
  paint: ["painting masks, here", "#c2185b"],
};

const $ = (id) => document.getElementById(id);
const view = new View($("canvas"), {
  hover: (index) => hover(index),
  pick: (index) => pick(index),
  zoom: (scale) => ($("fit").textContent = `${Math.round(100 * scale)} %`),
});
const state = {
  server: { format: "", formats: {}, mask_threshold: 0.5, max_payload_mb: Infinity, samples: [] },
  model: null,
  file: null,
  answer: null,
  hidden: new Set(),
  hovered: null,
  picked: null,
  tab: "curl",
  asking: null,
};

/** An element with text and properties; text is never markup. */
function element(name, text = "", properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.textContent = text;
  return made;
}

function tell(text, working = false) {
  $("status").textContent = text;
  $("status").hidden = !text;
  $("status").classList.toggle("working", working);
}

function complain(error) {
  const id = error?.requestId ? ` (request ${error.requestId})` : "";
  $("error").textContent = error ? `${error.message}${id}` : "";
  $("error").hidden = !error;
}

// --- asking

/** Show a picture, and ask what is in it; an older question is given up. */
async function open(file) {
  state.asking?.abort();
  const asking = (state.asking = new AbortController());
  state.file = file;
  state.answer = state.picked = state.hovered = null;
  complain(null);
  document.body.classList.add("asked");
  $("welcome").hidden = true;
  $("stage").classList.remove("empty");
  for (const id of ["tools", "take"]) $(id).hidden = false;
  for (const id of ["found", "times"]) $(id).hidden = true;
  for (const id of ["score", "mask"]) $(id).disabled = true;
  showRequest();
  const current = () => state.asking === asking;
  try {
    if (file.size > state.server.max_payload_mb * 2 ** 20) {
      const limit = state.server.max_payload_mb;
      throw new server.Refused(`${file.name} is larger than the ${limit} MiB that the server reads.`);
    }
    tell("Looking ...", true);
    // Upright, as the server sees it. One that the browser cannot decode, the server perhaps can.
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
    if (!current()) return;
    view.scene(scene([]));
    if (bitmap) view.picture(bitmap, [bitmap.height, bitmap.width]);
    await server.ready((why) => tell(why, true));
    if (!current()) return;
    tell("Looking ...", true);
    const options = { score_threshold: LEAST_SCORE, mask_threshold: threshold(), format: "soft" };
    const reply = await server.ask(file, state.model, options, asking.signal);
    if (!current()) return;
    answered(server.parsed(reply.bytes), reply, bitmap);
  } catch (error) {
    if (!current() || error.name === "AbortError") return;
    tell("");
    complain(error);
  }
}

function answered(answer, reply, bitmap) {
  const [height, width] = answer.size;
  const same = bitmap && bitmap.height === height && bitmap.width === width;
  if (!same) view.picture(null, answer.size);
  state.answer = answer;
  state.reply = reply;
  const least = Math.max(LEAST_SCORE, answer.model.score_threshold);
  if (!state.touched) $("score").value = least;
  const finished = answer.instances.some(({ mask }) => mask instanceof RunMask);
  $("score").disabled = false;
  $("mask").disabled = finished || !answer.instances.some(({ mask }) => mask);
  $("asked").textContent = finished
    ? "This model gives finished masks, so that their threshold cannot be changed here."
    : `The server was asked for all that scores ${LEAST_SCORE} or more. Both thresholds act on ` +
      "that answer, without asking again.";
  $("found").hidden = $("times").hidden = false;
  tell(same ? "" : "Your browser cannot show this picture; what was found in it is drawn on gray.");
  listClasses();
  listInstances();
  show();
  showTimes();
}

// --- what is shown

const threshold = () => Number($("mask").value);

function visible() {
  const least = Number($("score").value);
  const kept = ({ score, category }) => score >= least && !state.hidden.has(category);
  return (state.answer?.instances ?? []).filter(kept);
}

function scene(instances) {
  const marked = state.hovered ?? state.picked;
  const pressed = (button) => [button.value, button.getAttribute("aria-pressed") === "true"];
  return {
    instances,
    marked: instances.some(({ index }) => index === marked) ? marked : null,
    threshold: threshold(),
    show: Object.fromEntries([...$("show").children].map(pressed)),
  };
}

/** Draw and list what the controls let through. */
function show() {
  for (const id of ["score", "mask"]) {
    document.querySelector(`output[for=${id}]`).textContent = Number($(id).value).toFixed(2);
  }
  const instances = visible();
  const drawn = scene(instances);
  view.scene(drawn);
  const shown = new Set(instances.map(({ index }) => index));
  for (const row of $("list").children) row.hidden = !shown.has(Number(row.value));
  mark(drawn.marked);
  const all = state.answer?.instances ?? [];
  $("count").textContent = `${instances.length} of ${all.length}`;
  $("canvas").setAttribute(
    "aria-label",
    state.answer ? `Picture with ${instances.length} instances shown` : "Picture",
  );
  for (const dot of $("dots").children) {
    dot.classList.toggle("below", Number(dot.dataset.score) < Number($("score").value));
  }
  countClasses();
  detail();
  showRequest();
}

function listClasses() {
  const names = [...new Set(state.answer.instances.map(({ category }) => category))].sort();
  const legend = $("classes").firstElementChild;
  $("classes").replaceChildren(
    legend,
    ...names.map((name) => {
      const label = element("label", "", { title: name });
      const box = element("input", "", { type: "checkbox", checked: !state.hidden.has(name) });
      box.dataset.category = name;
      label.append(box, element("span", name), element("b"));
      return label;
    }),
  );
}

function countClasses() {
  const least = Number($("score").value);
  for (const label of $("classes").querySelectorAll("label")) {
    const { category } = label.firstElementChild.dataset;
    const own = state.answer.instances.filter((one) => one.category === category);
    label.lastElementChild.textContent = own.filter(({ score }) => score >= least).length;
  }
}

function listInstances() {
  const rows = state.answer.instances.map(({ index, category, score }) => {
    const row = element("li", "", { id: `instance-${index}`, value: index });
    row.role = "option";
    row.style.setProperty("--colour", css(colour(index)));
    row.style.setProperty("--at", score);
    const name = element("span", category, { className: "name", title: category });
    const meter = element("span", "", { className: "meter" });
    const number = element("span", score.toFixed(2), { className: "score" });
    row.append(element("i"), name, meter, number);
    return row;
  });
  $("list").replaceChildren(...rows);
  const { min, max } = $("score");
  const dots = state.answer.instances.map(({ index, score }) => {
    const dot = element("span");
    dot.dataset.score = score;
    dot.style.setProperty("--at", (score - min) / (max - min));
    dot.style.setProperty("--colour", css(colour(index)));
    return dot;
  });
  $("dots").replaceChildren(...dots.reverse());
}

function mark(marked) {
  for (const row of $("list").children) {
    row.classList.toggle("marked", row.value === marked);
    row.ariaSelected = row.value === state.picked;
  }
  if (state.picked === null) $("list").removeAttribute("aria-activedescendant");
  else $("list").setAttribute("aria-activedescendant", `instance-${state.picked}`);
}

/** Facts about the instance that stands out. */
function detail() {
  const index = state.hovered ?? state.picked;
  const one = visible().find((candidate) => candidate.index === index);
  $("detail").hidden = !one;
  if (!one) return;
  const [x1, y1, x2, y2] = one.box;
  const pixels = (value) => value.toFixed(1);
  const facts = { score: one.score.toFixed(4) };
  facts["x, y"] = `${pixels(x1)}, ${pixels(y1)}`;
  facts["width × height"] = `${pixels(x2 - x1)} × ${pixels(y2 - y1)}`;
  if (one.mask) facts["mask"] = `${area(one.mask, state.answer.size, threshold())} pixels`;
  $("detail").replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
}

function hover(index) {
  if (state.hovered === index) return;
  state.hovered = index;
  view.scene(scene(visible()));
  mark(state.hovered ?? state.picked);
  detail();
}

function pick(index) {
  state.picked = index;
  state.hovered = null;
  show();
  const row = index === null ? null : $(`instance-${index}`);
  row?.scrollIntoView({ block: "nearest" });
}

// --- time

function showTimes() {
  const parts = [...state.reply.stages].filter(([name, ms]) => name !== "rest" || ms >= 0.05);
  $("elapsed").textContent = `${Math.round(state.reply.elapsed)} ms`;
  const named = ([name, ms]) => {
    const [text, shade] = STAGES[name] ?? [name, "#888"];
    return { text, shade, ms };
  };
  const bars = parts.map(named).map(({ text, shade, ms }) => {
    const bar = element("span", "", { title: `${text}: ${ms.toFixed(1)} ms` });
    bar.style.setProperty("--at", Math.max(ms, 0.001));
    bar.style.setProperty("--colour", shade);
    return bar;
  });
  $("bar").replaceChildren(...bars);
  const lines = parts.map(named).flatMap(({ text, shade, ms }) => {
    const term = element("dt", text);
    term.style.setProperty("--colour", shade);
    return [term, element("dd", `${ms.toFixed(1)} ms`)];
  });
  $("stages").replaceChildren(...lines);
  $("request").textContent = state.reply.requestId;
}

// --- the same request elsewhere

function options() {
  return {
    img_id: server.headerName(state.file.name),
    score_threshold: Number($("score").value),
    mask_threshold: threshold(),
    format: $("format").value,
  };
}

function outName() {
  const format = $("format").value;
  return snippets.fileName(state.file.name, format, state.server.formats[format] ?? "");
}

function showRequest() {
  if (!state.file) return;
  const write = snippets[state.tab];
  $("snippet").textContent = write(state.file, state.model, options(), outName());
  $("whole").textContent = state.hidden.size
    ? "The class filter is this page's: the file has every class."
    : "";
}

async function download() {
  const [file, name] = [state.file, outName()];
  $("download").disabled = true;
  complain(null);
  try {
    const reply = await server.ask(file, state.model, options());
    const url = URL.createObjectURL(new Blob([reply.bytes], { type: reply.type }));
    element("a", "", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    complain(error);
  } finally {
    $("download").disabled = false;
  }
}

async function copy() {
  // The clipboard is there in secure contexts only: over HTTPS, and on this machine.
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("snippet"));
    $("copy").textContent = "Selected";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

function choose(tab) {
  state.tab = tab.value;
  for (const other of document.querySelectorAll("[role=tab]")) {
    other.ariaSelected = other === tab;
    other.tabIndex = other === tab ? 0 : -1;
  }
  $("snippet").setAttribute("aria-labelledby", tab.id);
  showRequest();
}

// --- hands

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
  $("score").addEventListener("input", () => (state.touched = true));
  $("classes").addEventListener("change", ({ target }) => {
    if (target.checked) state.hidden.delete(target.dataset.category);
    else state.hidden.add(target.dataset.category);
    show();
  });
  $("list").addEventListener("pointerover", ({ target }) => {
    const row = target.closest("li");
    if (row) hover(row.value);
  });
  $("list").addEventListener("pointerleave", () => hover(null));
  $("list").addEventListener("click", ({ target }) => {
    const row = target.closest("li");
    if (row) pick(row.value === state.picked ? null : row.value);
  });
  $("list").addEventListener("keydown", walk);
  $("out").addEventListener("click", () => view.zoomOut());
  $("fit").addEventListener("click", () => view.fit());
  $("in").addEventListener("click", () => view.zoomIn());
  $("show").addEventListener("click", ({ target }) => toggle(target));
  $("format").addEventListener("change", showRequest);
  $("download").addEventListener("click", download);
  $("copy").addEventListener("click", copy);
  for (const tab of document.querySelectorAll("[role=tab]")) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = $(tab.id === "tab-curl" ? "tab-boto3" : "tab-curl");
      choose(other);
      other.focus();
    });
  }
  $("models").querySelector("select").addEventListener("change", ({ target }) => {
    state.model = target.value;
    if (state.file) open(state.file);
  });
  $("theme").addEventListener("click", switchTheme);
  $("help").addEventListener("click", () => $("keys").showModal());
  document.addEventListener("keydown", shortcut);
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files[0]) open(clipboardData.files[0]);
  });
  listenToDrops();
}

function listenToDrops() {
  let inside = 0;
  const dragging = (change) => (event) => {
    event.preventDefault();
    inside = Math.max(0, inside + change);
    document.body.classList.toggle("dragging", inside > 0);
  };
  document.addEventListener("dragenter", dragging(1));
  document.addEventListener("dragleave", dragging(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    dragging(-Infinity)(event);
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}

function toggle(button) {
  if (!button.value) return;
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  view.scene(scene(visible()));
}

function switchTheme() {
  const { dataset } = document.documentElement;
  dataset.theme = isDark() ? "light" : "dark";
  $("theme").ariaPressed = isDark();
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Arrow keys in the list of instances. */
function walk(event) {
  const rows = [...$("list").children].filter((row) => !row.hidden);
  const at = rows.findIndex((row) => row.value === state.picked);
  const last = rows.length - 1;
  const to = {
    ArrowDown: Math.min(at + 1, last),
    ArrowUp: Math.max(at - 1, 0),
    Home: 0,
    End: last,
  }[event.key];
  if (to !== undefined && rows.length) pick(rows[to].value);
  else if (event.key === "Enter" && at >= 0) view.reveal(state.answer.instances[rows[at].value].box);
  else return;
  event.preventDefault();
}

/** Keys for the whole page, while no control of another kind has the focus. */
function shortcut(event) {
  const free = [document.body, $("stage"), $("list")].includes(document.activeElement);
  if (!free || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = 60;
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  const pressed = (value) => () => toggle($("show").querySelector(`[value=${value}]`));
  const keys = {
    "+": () => view.zoomIn(),
    "=": () => view.zoomIn(),
    "-": () => view.zoomOut(),
    0: () => view.fit(),
    "?": () => $("keys").showModal(),
    o: () => $("file").click(),
    m: pressed("masks"),
    b: pressed("boxes"),
    l: pressed("labels"),
    Escape: () => pick(null),
  };
  const move = document.activeElement === $("stage") ? moves[event.key] : undefined;
  const act = move ? () => view.pan(...move) : keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

// --- the start

function showSamples() {
  const samples = state.server.samples.map((name, number) => {
    const item = element("li");
    const button = element("button", "", { type: "button", title: name });
    const src = server.address(`playground/samples/${number}`);
    button.append(element("img", "", { src, alt: `Sample ${name}` }));
    button.addEventListener("click", async () => {
      try {
        await open(await server.sample(number, name));
      } catch (error) {
        complain(error);
      }
    });
    item.append(button);
    return item;
  });
  const home = document.querySelector(".samples");
  home.querySelector("ul").replaceChildren(...samples);
  home.hidden = !samples.length;
}

function showFormats() {
  const entries = Object.entries(state.server.formats);
  $("format").replaceChildren(
    ...entries.map(([name, type]) => element("option", `${name} (${type})`, { value: name })),
  );
  $("format").value = state.server.format;
}

async function start() {
  $("stage").classList.add("empty");
  $("theme").ariaPressed = isDark();
  listen();
  try {
    state.server = await server.describe();
    $("mask").value = state.server.mask_threshold;
    showSamples();
    showFormats();
    const said = await server.ready((why) => tell(why, true));
    if (!state.file) tell("");
    await nameModels(said);
  } catch (error) {
    complain(error);
  }
}

/** One model has a name; of several one is chosen. */
async function nameModels(said) {
  if (said.model) {
    $("model").textContent = `${said.model}, ${said.backend}`;
    return;
  }
  const names = await server.models();
  if (!names.length) tell("No model is loaded yet: POST one to /models, and load this page again.");
  $("models").hidden = !names.length;
  $("models").querySelector("select").append(...names.map((name) => element("option", name)));
  state.model = names[0] ?? null;
}

start();
