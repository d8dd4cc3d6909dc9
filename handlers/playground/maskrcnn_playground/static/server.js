// What the page asks of the server, and what it makes of the answers.

import { RunMask, SoftMask } from "./masks.js";
import { askForKey } from "./page.js";

const ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes";
const RAW = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff"];
const POLL_MS = 1000;
const API_KEY = "api-key";
const UNAUTHORIZED = 401;

let asking = null;

/** What went wrong, in the server's words where it has any. */
export class Refused extends Error {
  constructor(message, requestId = "", { code = "", detail = {} } = {}) {
    super(message);
    this.requestId = requestId;
    this.code = code;
    this.detail = detail;
  }
}

/** The address of a route, wherever the page is. */
export function address(route) {
  return new URL(route, document.baseURI).href;
}

/** The route that asks a model; null: the only one. */
export function invocations(model) {
  return model === null ? "invocations" : `models/${encodeURIComponent(model)}/invoke`;
}

/** What the page has to know of this server. */
export async function describe() {
  return (await fetched(address("playground/server.json"))).json();
}

/** The categories of a model, {id, name} each, and whether they are COCO's; null: the only one. */
export async function describeModel(model) {
  return (await fetched(address(`playground/model.json${query({ model })}`))).json();
}

/** A sample picture, as a file. */
export async function sample(route, name) {
  const reply = await fetched(address(route));
  const blob = await reply.blob();
  return new File([blob], name, { type: blob.type });
}

/** Wait until the server answers requests; `tell` is called while it does not. */
export async function ready(tell) {
  for (;;) {
    const reply = await fetch(address("ping")).catch(() => null);
    if (reply?.ok) return reply.json();
    tell(reply ? "The model is loading." : "The server does not answer.");
    await new Promise((go) => setTimeout(go, POLL_MS));
  }
}

/** The names of a multi-model server's models. */
export async function models() {
  const names = [];
  let page = "";
  do {
    const query = page && `?next_page_token=${page}`;
    const answer = await (await fetched(address(`models${query}`))).json();
    names.push(...answer.models.map((model) => model.modelName));
    page = answer.nextPageToken ?? "";
  } while (page);
  return names;
}

/** The content type that a picture is sent with. */
export function contentType(file) {
  return RAW.includes(file.type) ? file.type : "application/x-image";
}

/** Options as the custom attributes of a request. */
export function attributes(options) {
  return Object.entries(options)
    .map(([name, value]) => `${name}=${value}`)
    .join("; ");
}

/** A file's name as it can travel in a header, where `;` separates and only ASCII is allowed. */
export function headerName(name) {
  return name.replace(/[^A-Za-z0-9._ -]/g, "_").slice(-200);
}

/** The reply to a question about a picture, of the media type `accept` if one is given. */
export async function requested(file, model, options, signal, accept = "") {
  const headers = { "Content-Type": contentType(file), [ATTRIBUTES]: attributes(options) };
  if (accept) headers.Accept = accept;
  return fetched(address(invocations(model)), { method: "POST", body: file, headers, signal });
}

/** Ask for a picture's instances in a format: the answer's bytes, and milliseconds by stage. */
export async function ask(file, model, options, signal) {
  const begin = performance.now();
  const reply = await requested(file, model, options, signal);
  const bytes = await reply.arrayBuffer();
  const elapsed = performance.now() - begin;
  return {
    bytes,
    type: reply.headers.get("Content-Type") ?? "",
    requestId: reply.headers.get("X-Request-Id") ?? "",
    elapsed,
    stages: stages(reply.headers.get("Server-Timing") ?? "", elapsed),
  };
}

/** A picture as a PNG, for a browser that cannot decode the file. */
export async function redrawn(file) {
  const headers = { "Content-Type": contentType(file) };
  const reply = await fetched(address("playground/picture"), { method: "POST", body: file, headers });
  return reply.blob();
}

/** The picture at an address, by the server, which fetches only what its operator allows. */
export async function atAddress(url) {
  const reply = await fetched(address("playground/address"), {
    method: "POST",
    body: JSON.stringify({ img_url: url }),
    headers: { "Content-Type": "application/json" },
  });
  const blob = await reply.blob();
  const name = url.replace(/[?#].*$/, "").split("/").at(-1) || "picture";
  return new File([blob], name, { type: blob.type });
}

/** Write edited annotations in a format: the reply's bytes and media type. */
export async function exported(edited, model, format) {
  const reply = await fetched(address(`playground/export${query({ model, format })}`), {
    method: "POST",
    body: JSON.stringify(edited),
    headers: { "Content-Type": "application/json" },
  });
  return { bytes: await reply.arrayBuffer(), type: reply.headers.get("Content-Type") ?? "" };
}

/** The frames of an animated image: {size, frames}, each {time_s, duration_s, image}. */
export async function frames(file) {
  const headers = { "Content-Type": contentType(file) };
  return (await fetched(address("playground/frames"), { method: "POST", body: file, headers })).json();
}

/** Tracks through what was found in frames, as {text, type}: the page's own, or in a format. */
export async function tracks(asked, model, format = null) {
  const reply = await fetched(address(`playground/tracks${query({ model, format })}`), {
    method: "POST",
    body: JSON.stringify(asked),
    headers: { "Content-Type": "application/json" },
  });
  return { text: await reply.text(), type: reply.headers.get("Content-Type") ?? "" };
}

/** Of format `soft`: the picture's size, the model, and the instances, best first. */
export function parsed(bytes) {
  const answer = JSON.parse(new TextDecoder().decode(bytes));
  return { size: answer.size, model: answer.model, instances: answer.instances.map(instance) };
}

/** An instance of format `soft`, with its number. */
export function instance(found, index) {
  return {
    index,
    box: found.box,
    score: found.score,
    category: found.category_name,
    categoryId: found.category_id,
    mask: mask(found),
  };
}

/** Milliseconds of each part of a request, by the parts' names, in their order. */
export function stages(header, elapsed) {
  const told = new Map();
  for (const part of header.split(",")) {
    const [, name, ms] = part.match(/^\s*([\w-]+);dur=([\d.]+)\s*$/) ?? [];
    if (name) told.set(name, Number(ms));
  }
  const total = told.get("total") ?? 0;
  told.delete("total");
  const named = [...told.values()].reduce((sum, ms) => sum + ms, 0);
  return [
    ["transfer", Math.max(0, elapsed - total)],
    ...told,
    ["rest", Math.max(0, total - named)],
  ];
}

function mask(found) {
  if (found.mask) {
    const text = atob(found.mask.probabilities);
    const values = Uint8Array.from(text, (character) => character.charCodeAt(0));
    return new SoftMask(found.mask.box, found.mask.side, values);
  }
  return found.segmentation
    ? new RunMask(found.segmentation.counts, found.segmentation.size)
    : null;
}

/** The key that the server wants; asked for once, and kept until the tab is closed. */
async function key() {
  asking ??= askForKey().finally(() => (asking = null));
  const given = await asking;
  if (given) sessionStorage.setItem(API_KEY, given);
  return given;
}

async function authorized(url, options = {}) {
  const used = sessionStorage.getItem(API_KEY);
  const headers = used ? { ...options.headers, Authorization: `Bearer ${used}` } : options.headers;
  const reply = await fetch(url, { ...options, headers });
  if (reply.status !== UNAUTHORIZED) return reply;
  const isOld = sessionStorage.getItem(API_KEY) !== used;
  return isOld || (await key()) ? authorized(url, options) : reply;
}

async function fetched(url, options) {
  let reply;
  try {
    reply = await authorized(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer.");
  }
  if (reply.ok) return reply;
  const answer = await reply.json().catch(() => ({}));
  const said = answer.error?.message ?? `status ${reply.status}`;
  throw new Refused(`The server says: ${said}.`, answer.request_id ?? "", answer.error);
}

function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
