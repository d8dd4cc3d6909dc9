// What is written beside the picture: classes, instances, and where the time went.

import { area } from "./masks.js";
import { css } from "./overlay.js";
import { $, element } from "./page.js";

const STAGES = {
  transfer: ["sending and receiving", "#8b93a7"],
  wait: ["waiting for its turn", "#d9a400"],
  decode: ["decoding the picture", "#1f9e89"],
  preprocess: ["resizing", "#35b779"],
  network: ["neural network", "#2456d6"],
  model: ["rest of the model", "#7e57c2"],
  paste: ["pasting masks", "#d81b60"],
  tiles: ["tile after tile", "#2456d6"],
  encode: ["writing the answer", "#f4743b"],
  rest: ["rest of the server", "#5d6475"],
};

let listedAs = "";

/**
 * List what was found, each instance's row and the mark of its score above the slider. Rows stay
 * where only `isAway` changes, whether a track is in the frame that is shown.
 */
export function list(instances) {
  const signature = JSON.stringify(instances.map(({ isAway, box, mask, ...told }) => told));
  if (signature !== listedAs) {
    listedAs = signature;
    $("list").replaceChildren(...instances.map(row));
    $("dots").replaceChildren(...instances.map(dot).reverse());
  }
  instances.forEach(({ track, isAway }, i) => {
    if (!track) return;
    const own = $("list").children[i];
    own.classList.toggle("away", isAway);
    own.querySelector(".unseen").textContent = isAway ? ", not in this frame" : "";
  });
}

/** Show the rows of `shown` alone, and count them; dim the marks of scores below `least`. */
export function filter(instances, shown, least) {
  const indices = new Set(shown.map(({ index }) => index));
  for (const one of $("list").children) one.hidden = !indices.has(one.value);
  const wrong = shown.filter((one) => one.wrong).length;
  const said = wrong ? `, ${wrong} wrong` : "";
  $("count").textContent = `${shown.length} of ${instances.length}${said}`;
  for (const mark of $("dots").children) {
    mark.classList.toggle("below", Number(mark.dataset.score) < least);
  }
}

/** Mark the row of the instance that stands out, and the one that is selected. */
export function mark(marked, selected) {
  for (const one of $("list").children) {
    one.classList.toggle("marked", one.value === marked);
    one.setAttribute("aria-selected", one.value === selected);
  }
  if (selected === null) $("list").removeAttribute("aria-activedescendant");
  else $("list").setAttribute("aria-activedescendant", rowId(selected));
}

/** Bring an instance's row into sight. */
export function reveal(index) {
  $(rowId(index))?.scrollIntoView({ block: "nearest" });
}

/** The numbers of an instance, at the picture: above, if it is low there. Of none, nothing. */
export function describe(one, size, threshold, isLow) {
  $("detail").hidden = !one;
  if (!one) return;
  $("detail").classList.toggle("up", isLow);
  const facts = $("detail").querySelector("dl");
  const [x1, y1, x2, y2] = one.box;
  const pair = (u, v, sign) => `${u.toFixed(1)}${sign}${v.toFixed(1)}`;
  const lines = [
    ...(one.track ? [["track", String(one.track)]] : []),
    ["class", one.category],
    ["score", one.score.toFixed(4)],
    ["x, y", pair(x1, y1, ", ")],
    ["width × height", pair(x2 - x1, y2 - y1, " × ")],
  ];
  if (one.mask) lines.push(["mask", `${area(one.mask, size, threshold)} pixels`]);
  lines.push(...(one.facts ?? []));
  facts.replaceChildren(
    ...lines.flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
}

/** Where the milliseconds of a request went. */
export function times({ elapsed, stages, requestId }) {
  $("elapsed").textContent = `${Math.round(elapsed)} ms`;
  const parts = stages.map(([name, ms]) => {
    const [text, shade] = STAGES[name] ?? [name, "#888"];
    const [bar, term] = [element("span"), element("dt", text)];
    bar.style.setProperty("--at", Math.max(ms, 0.001));
    for (const part of [bar, term]) part.style.setProperty("--colour", shade);
    return { bar, line: [term, element("dd", `${ms.toFixed(1)} ms`)] };
  });
  $("bar").replaceChildren(...parts.map(({ bar }) => bar));
  $("stages").replaceChildren(...parts.flatMap(({ line }) => line));
  $("request").textContent = requestId;
}

function rowId(index) {
  return `instance-${index}`;
}

function dot({ score, colour }) {
  const { min, max } = $("score");
  const made = element("span");
  made.dataset.score = score;
  made.style.setProperty("--at", (score - min) / (max - min));
  made.style.setProperty("--colour", css(colour));
  return made;
}

function row({ index, category, score, colour, wrong, reshaped, note, scores, track }) {
  const made = element("li", "", { id: rowId(index), value: index });
  made.setAttribute("role", "option");
  made.style.setProperty("--colour", css(colour));
  made.style.setProperty("--at", score);
  made.append(
    element("i"),
    element("span", track ? `${track} ${category}` : category, { className: "name", title: category }),
    element("span", note, { className: note ? "note" : "meter", title: note ?? "" }),
    element("span", scores ?? score.toFixed(2), { className: "score" }),
  );
  if (track) made.append(element("span", "", { className: "unseen" }));
  if (wrong) {
    made.classList.add("wrong");
    made.append(element("span", ", marked as wrong", { className: "unseen" }));
  }
  if (reshaped) made.append(element("span", ", outline changed", { className: "unseen" }));
  return made;
}
