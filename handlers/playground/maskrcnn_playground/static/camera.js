// A picture from the camera of this machine.

import { $, complain } from "./page.js";

const QUALITY = 0.92;

/** Offer the camera, if there is one; call `taken(file)` with a picture. */
export function offerCamera(taken) {
  // Browsers give it in secure contexts only: over HTTPS, and on this machine.
  const buttons = document.querySelectorAll(".camera");
  for (const button of buttons) {
    button.hidden = !navigator.mediaDevices?.getUserMedia;
    button.addEventListener("click", () => look(taken));
  }
}

async function look(taken) {
  const [dialog, video] = [$("camera"), $("camera").querySelector("video")];
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
    });
  } catch (error) {
    complain(new Error(`The camera cannot be used: ${error.message}`));
    return;
  }
  video.srcObject = stream;
  dialog.returnValue = "";
  dialog.showModal();
  const closed = async () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    if (canvas.width) canvas.getContext("2d").drawImage(video, 0, 0);
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
    if (dialog.returnValue !== "take" || !canvas.width) return;
    const blob = await new Promise((made) => canvas.toBlob(made, "image/jpeg", QUALITY));
    taken(new File([blob], "camera.jpg", { type: "image/jpeg" }));
  };
  dialog.addEventListener("close", closed, { once: true });
}
