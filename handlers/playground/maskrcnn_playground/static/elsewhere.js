// The request as the controls say it, to take along: as a file of the answer, and in other words.

import { $, complain, element } from "./page.js";
import { ask, exported, headerName } from "./server.js";
import * as snippets from "./snippets.js";
import { unique, zipped } from "./zip.js";

const COPIED_MS = 1500;
const SAVED_MS = 60_000;

const state = { picture: null, others: [], model: null, options: {}, formats: {}, drawn: [] };
let tab = "curl";

/**
 * Offer these formats, by name and media type, and this one first; `drawn` are the names of those
 * that draw on the picture.
 */
export function offer({ formats, drawn }, first) {
  Object.assign(state, { formats, drawn });
  const choices = Object.entries(formats).map(([name, type]) =>
    element("option", `${name} (.${snippets.extension(type)})`, { value: name }),
  );
  $("format").replaceChildren(...choices);
  $("format").value = first in formats ? first : Object.keys(formats)[0];
}

/**
 * Show the request for a picture, if there is one. `all` are the pictures that were opened, and
 * `edited(picture)` is an edited one's annotations and image_size, null for one that is not.
 */
export function show(asked) {
  Object.assign(state, asked);
  const { picture, all } = state;
  $("download-all").hidden = all.length < 2;
  $("download-all").textContent = `All ${all.length} (.zip)`;
  $("review").hidden = $("edited").hidden = !picture?.edits?.isEdited;
  write();
}

/** Let people use it. */
export function listen() {
  $("format").addEventListener("change", write);
  $("download").addEventListener("click", () => busy($("download"), download));
  $("download-all").addEventListener("click", () => busy($("download-all"), downloadAll));
  $("review").addEventListener("click", review);
  $("copy").addEventListener("click", copy);
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const one of tabs) {
    one.addEventListener("click", () => choose(one, tabs));
    one.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = tabs.find((each) => each !== one);
      choose(other, tabs);
      other.focus();
    });
  }
}

function write() {
  if (!state.picture) return;
  const { picture, model } = state;
  const out = savedAs(picture);
  $("snippet").textContent = snippets[tab](picture.file, model, asked(picture), out);
}

function asked({ file }) {
  return { img_id: headerName(file.name), ...state.options, format: $("format").value };
}

function savedAs({ file }) {
  const format = $("format").value;
  return snippets.fileName(file.name, format, state.formats[format] ?? "");
}

/** A picture's answer in the chosen format: as the server gives it, or as people have changed it. */
async function answer(picture) {
  const { model } = state;
  const edited = state.edited(picture);
  if (!edited) return ask(picture.file, model, asked(picture));
  const format = $("format").value;
  const image = state.drawn.includes(format) ? { img_data: await base64(picture.file) } : {};
  return exported({ img_id: picture.file.name, ...edited, ...image }, model, format);
}

async function download() {
  const { picture } = state;
  const name = savedAs(picture);
  const { bytes, type } = await answer(picture);
  save(new Blob([bytes], { type }), name);
}

/** One after the other, as the server likes it; what fails is said, and the others are saved. */
async function downloadAll() {
  const [files, failed] = [[], []];
  const names = unique(state.all.map(savedAs));
  for (const [i, picture] of [...state.all].entries()) {
    $("download-all").textContent = `${i + 1} of ${names.length} ...`;
    try {
      files.push({ name: names[i], bytes: (await answer(picture)).bytes });
    } catch (error) {
      failed.push(`${picture.file.name}: ${error.message}`);
    }
  }
  if (files.length) save(zipped(files), `${$("format").value}.zip`);
  $("download-all").textContent = `All ${names.length} (.zip)`;
  if (failed.length) throw new Error(`${failed.length} failed. ${failed[0]}`);
}

/** What people have said of each of the model's instances. */
function review() {
  const { file, edits } = state.picture;
  const said = { img_id: file.name, instances: edits.review() };
  const blob = new Blob([JSON.stringify(said, null, 1)], { type: "application/json" });
  save(blob, snippets.fileName(file.name, "review", "application/json"));
}

/** Do something, while a button waits for it; say what goes wrong. */
export async function busy(button, act) {
  button.disabled = true;
  complain(null);
  try {
    await act();
  } catch (error) {
    complain(error);
  } finally {
    button.disabled = false;
  }
}

/** Let the browser save a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", "", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), SAVED_MS);
}

function base64(file) {
  return new Promise((read, failed) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => read(reader.result.replace(/^[^,]*,/, "")));
    reader.addEventListener("error", () => failed(new Error(`${file.name} cannot be read.`)));
    reader.readAsDataURL(file);
  });
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
  setTimeout(() => ($("copy").textContent = "Copy"), COPIED_MS);
}

function choose(chosen, tabs) {
  tab = chosen.value;
  for (const one of tabs) {
    one.setAttribute("aria-selected", one === chosen);
    one.tabIndex = one === chosen ? 0 : -1;
  }
  $("snippet").setAttribute("aria-labelledby", chosen.id);
  write();
}
