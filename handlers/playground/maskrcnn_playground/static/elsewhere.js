// The request as the controls say it, to take along: as a file of the answer, and in other words.

import { $, complain, element } from "./page.js";
import { ask, headerName } from "./server.js";
import * as snippets from "./snippets.js";

const COPIED_MS = 1500;
const SAVED_MS = 60_000;

const state = { file: null, model: null, options: {}, formats: {}, tab: "curl" };

/** Offer these formats, by name and media type, and this one first. */
export function offer(formats, first) {
  state.formats = formats;
  const choices = Object.entries(formats).map(([name, type]) =>
    element("option", `${name} (.${snippets.extension(type)})`, { value: name }),
  );
  $("format").replaceChildren(...choices);
  $("format").value = first;
}

/** Show the request for a picture, if there is one. */
export function show(file, model, options) {
  Object.assign(state, { file, model, options });
  write();
}

/** Let people use it. */
export function listen() {
  $("format").addEventListener("change", write);
  $("download").addEventListener("click", download);
  $("copy").addEventListener("click", copy);
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) {
    tab.addEventListener("click", () => choose(tab, tabs));
    tab.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = tabs.find((one) => one !== tab);
      choose(other, tabs);
      other.focus();
    });
  }
}

function write() {
  if (!state.file) return;
  const { file, model, tab } = state;
  $("snippet").textContent = snippets[tab](file, model, asked(), savedAs());
}

function asked() {
  const format = $("format").value;
  return { img_id: headerName(state.file.name), ...state.options, format };
}

function savedAs() {
  const format = $("format").value;
  return snippets.fileName(state.file.name, format, state.formats[format] ?? "");
}

async function download() {
  const name = savedAs();
  $("download").disabled = true;
  complain(null);
  try {
    const reply = await ask(state.file, state.model, asked());
    const url = URL.createObjectURL(new Blob([reply.bytes], { type: reply.type }));
    element("a", "", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), SAVED_MS);
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
  setTimeout(() => ($("copy").textContent = "Copy"), COPIED_MS);
}

function choose(tab, tabs) {
  state.tab = tab.value;
  for (const other of tabs) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
  }
  $("snippet").setAttribute("aria-labelledby", tab.id);
  write();
}
