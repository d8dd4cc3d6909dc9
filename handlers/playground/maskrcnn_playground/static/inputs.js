// The ways for pictures to come in: chosen, dropped, pasted, by their addresses, taken by a camera,
// or samples.

import { offerCamera } from "./camera.js";
import { $, complain, element, tell } from "./page.js";
import * as server from "./server.js";

const ADDRESS = /^(https?|s3):\/\/\S+$/;

/** Call `given(files)` whenever there are some. */
export function listen(given) {
  for (const button of document.querySelectorAll(".open")) {
    button.addEventListener("click", () => $("file").click());
  }
  $("file").addEventListener("change", () => {
    const files = [...$("file").files];
    $("file").value = "";
    if (files.length) given(files);
  });
  document.addEventListener("paste", ({ target, clipboardData }) => {
    if (!target.matches?.("input")) take(clipboardData, given);
  });
  listenToDrops(given);
  offerCamera((file) => given([file]));
}

/** Offer samples: {name, route} each. */
export function showSamples(samples, given) {
  const sample = ({ name, route }) => {
    const [item, button] = [element("li"), element("button", "", { type: "button", title: name })];
    button.append(element("img", "", { src: server.address(route), alt: `Sample ${name}` }));
    button.addEventListener("click", () => {
      server
        .sample(route, name)
        .then((file) => given([file]))
        .catch(complain);
    });
    item.append(button);
    return item;
  };
  for (const place of document.querySelectorAll(".samples")) {
    place.replaceChildren(...samples.map(sample));
    place.parentElement.hidden = !samples.length && !place.parentElement.matches(".group");
  }
}

function listenToDrops(given) {
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
    take(event.dataTransfer, given);
  });
}

/** What was pasted or dropped: files, or the address of a picture, which the server fetches. */
async function take(data, given) {
  const files = [...data.files];
  if (files.length) return given(files);
  const text = data.getData("text/plain").trim();
  if (!ADDRESS.test(text)) return;
  complain(null);
  tell("Getting the picture ...", true);
  try {
    given([await server.atAddress(text)]);
  } catch (error) {
    tell("");
    complain(error);
  }
}
