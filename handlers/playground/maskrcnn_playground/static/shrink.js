// Pictures made smaller, before they are sent.

const QUALITY = 0.9;
const STEP = 0.8;
const MIN_SIDE = 320;

/** A picture as a JPEG of at most so many bytes and pixels; null if the browser cannot draw it. */
export async function smaller(file, maxBytes, maxPixels = Infinity) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(
    () => null,
  );
  if (!bitmap) return null;
  const { width, height } = bitmap;
  const fits = Math.sqrt(maxPixels / (width * height));
  for (let scale = Math.min(1, fits); ; scale *= STEP) {
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.floor(width * scale));
    canvas.height = Math.max(1, Math.floor(height * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((made) => canvas.toBlob(made, "image/jpeg", QUALITY));
    const isSmallest = Math.max(canvas.width, canvas.height) < MIN_SIDE;
    if (blob && (blob.size <= maxBytes || isSmallest)) {
      bitmap.close();
      const name = file.name.replace(/\.[^.]*$/, "") || "picture";
      const type = "image/jpeg";
      return new File([blob], `${name}-${canvas.width}x${canvas.height}.jpg`, { type });
    }
    if (isSmallest) return null;
  }
}
