// Hands on the picture: the wheel and two fingers zoom it, dragging moves it, a click selects.

const CLICK = 5;
const LINE = 20;
const WHEEL = 0.0015;
const TRACKPAD = 0.01;

/**
 * Move `view` by what happens on its canvas; call `on.hover` and `on.pick` as it does. Where
 * `on.grab(place, kind of pointer)` is true, the pointer drags something else: then `on.drag(point
 * of the image)` and `on.drop()`.
 */
export function gestures(canvas, view, on) {
  const pointers = new Map();
  let origin = [0, 0];
  let isDragged = false;
  let grabbing = null;

  const down = (event) => {
    canvas.setPointerCapture(event.pointerId);
    origin = place(event);
    if (!pointers.size && on.grab(origin, event.pointerType)) grabbing = event.pointerId;
    pointers.set(event.pointerId, origin);
    isDragged = pointers.size > 1;
  };
  const move = (event) => {
    const [before, here] = [pointers.get(event.pointerId), place(event)];
    if (!before) {
      if (event.pointerType !== "touch") on.hover(view.at(...here));
      return;
    }
    if (grabbing === event.pointerId) {
      isDragged = true;
      on.drag(view.point(here));
      return;
    }
    isDragged ||= Math.hypot(here[0] - origin[0], here[1] - origin[1]) > CLICK;
    const [dx, dy] = [here[0] - before[0], here[1] - before[1]];
    if (pointers.size === 2) {
      const [, other] = [...pointers].find(([id]) => id !== event.pointerId);
      view.pan(dx / 2, dy / 2);
      const middle = [(here[0] + other[0]) / 2, (here[1] + other[1]) / 2];
      view.zoom(distance(here, other) / distance(before, other), ...middle);
    } else if (isDragged) {
      view.pan(dx, dy);
    }
    pointers.set(event.pointerId, here);
  };
  const up = (event) => {
    const isClick = pointers.delete(event.pointerId) && !isDragged;
    if (grabbing === event.pointerId) {
      grabbing = null;
      on.drop();
      return;
    }
    if (isClick && event.type === "pointerup") on.pick(view.at(...place(event)));
  };
  const wheel = (event) => {
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1;
    const speed = event.ctrlKey ? TRACKPAD : WHEEL;
    view.zoom(Math.exp(-event.deltaY * pixels * speed), ...place(event));
  };
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => on.hover(null));
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("dblclick", (event) => {
    if (view.isFitted) view.zoom(4, ...place(event));
    else view.fit();
  });
}

function place({ offsetX, offsetY }) {
  return [offsetX, offsetY];
}

function distance([x, y], [u, v]) {
  return Math.max(1, Math.hypot(x - u, y - v));
}
