// The export of a clip's tracks, and the command that makes them of the whole clip.

import { busy, save } from "./elsewhere.js";
import { $ } from "./page.js";
import { fileName, shell } from "./snippets.js";

const INSTALL = "pip install 'maskrcnn-playground[clips]'";

/** Let people use it; `made(format)` is a promise of {text, type}, and `name()` the clip's. */
export function listen({ made, name }) {
  $("download-tracks").addEventListener("click", () =>
    busy($("download-tracks"), async () => {
      const format = $("track-format").value;
      const { text, type } = await made(format);
      save(new Blob([text], { type }), fileName(name(), format, type.split(";")[0]));
    }),
  );
}

/** Show it for a clip; null: there is none. `isThere`: the server follows instances. */
export function show(picture, isThere) {
  $("take-clip").hidden = !picture;
  if (!picture) return;
  const { tracks, plan } = picture;
  $("track-row").hidden = !isThere;
  $("download-tracks").disabled = !tracks;
  const looked = plan ? `the ${plan.count} frames that are looked at` : "the frames";
  $("track-said").textContent = isThere
    ? `These are tracks through ${looked}. For all of its frames:`
    : "This server does not follow instances from frame to frame.";
  const stem = picture.file.name.replace(/\.[^.]*$/, "");
  const command = ["maskrcnn-server predict", shell(picture.file.name), "--track --json"];
  $("track-command").textContent = isThere
    ? `${command.join(" ")} ${shell(`${stem}.json`)}`
    : INSTALL;
}
