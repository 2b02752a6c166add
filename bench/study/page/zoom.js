"use strict";

// Pictures that are zoomed and moved together. Zoom 1 shows the whole picture; the point shown in
// the middle is kept as a fraction of the picture's sides, so pictures of other sizes follow too.
function zoomGroup(views, onChange) {
  const pointers = new Map();
  let zoom = 1, x = 0.5, y = 0.5;
  let lastTap = null;

  const picture = (view) => view.querySelector("img");
  const fit = (view) => Math.min(
    view.clientWidth / picture(view).naturalWidth, view.clientHeight / picture(view).naturalHeight);
  // Zoom at which one pixel of the picture is one pixel of the screen.
  const native = () => Math.max(
    ...views.map((view) => 1 / (fit(view) * window.devicePixelRatio)).filter(Number.isFinite), 1);

  function within(middle, side, shown) {
    const half = side / (2 * shown);
    return half >= 0.5 ? 0.5 : Math.min(Math.max(middle, half), 1 - half);
  }

  function draw() {
    zoom = Math.min(Math.max(zoom, 1), 8 * native());
    for (const view of views) {
      const image = picture(view);
      const scale = fit(view) * zoom;
      if (!image.naturalWidth || !Number.isFinite(scale)) continue;
      const width = image.naturalWidth * scale, height = image.naturalHeight * scale;
      if (view === views[0]) {
        x = within(x, view.clientWidth, width);
        y = within(y, view.clientHeight, height);
      }
      const left = view.clientWidth / 2 - within(x, view.clientWidth, width) * width;
      const top = view.clientHeight / 2 - within(y, view.clientHeight, height) * height;
      image.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
      image.style.imageRendering = scale * window.devicePixelRatio >= 2 ? "pixelated" : "auto";
    }
    onChange?.(zoom > 1);
  }

  // Moves by a distance on the screen.
  function move(view, right, down) {
    const scale = fit(view) * zoom;
    x -= right / (picture(view).naturalWidth * scale);
    y -= down / (picture(view).naturalHeight * scale);
    draw();
  }

  // Zooms so that what is under a point of the screen stays there.
  function zoomAt(view, clientX, clientY, factor) {
    const box = view.getBoundingClientRect();
    const right = clientX - box.left - view.clientWidth / 2;
    const down = clientY - box.top - view.clientHeight / 2;
    const before = zoom;
    zoom = Math.min(Math.max(zoom * factor, 1), 8 * native());
    const scale = fit(view);
    x += right / (picture(view).naturalWidth * scale) * (1 / before - 1 / zoom);
    y += down / (picture(view).naturalHeight * scale) * (1 / before - 1 / zoom);
    draw();
  }

  function toggle(view, clientX, clientY) {
    zoomAt(view, clientX, clientY, zoom > 1.01 ? 1 / zoom : Math.max(native(), 2));
  }

  function isDoubleTap(event) {
    const last = lastTap;
    lastTap = { at: event.timeStamp, x: event.clientX, y: event.clientY, view: event.currentTarget };
    const doubled = last !== null && last.view === lastTap.view && lastTap.at - last.at < 350
      && Math.hypot(lastTap.x - last.x, lastTap.y - last.y) < 30;
    if (doubled) lastTap = null;
    return doubled;
  }

  const middleOf = (points) => ({
    x: points.reduce((sum, point) => sum + point.x, 0) / points.length,
    y: points.reduce((sum, point) => sum + point.y, 0) / points.length,
    spread: points.length > 1 ? Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y) : 0,
  });

  function onDown(event) {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, {
      x: event.clientX, y: event.clientY, far: 0, view: event.currentTarget });
  }

  function onMove(event) {
    const pointer = pointers.get(event.pointerId);
    if (!pointer) return;
    const mine = () => [...pointers.values()].filter((one) => one.view === pointer.view).slice(0, 2);
    const before = middleOf(mine());
    pointer.far += Math.hypot(event.clientX - pointer.x, event.clientY - pointer.y);
    pointer.x = event.clientX;
    pointer.y = event.clientY;
    const after = middleOf(mine());
    move(pointer.view, after.x - before.x, after.y - before.y);
    if (before.spread > 0) zoomAt(pointer.view, after.x, after.y, after.spread / before.spread);
  }

  function onUp(event) {
    const pointer = pointers.get(event.pointerId);
    if (!pointer) return;
    const alone = pointers.size === 1;
    pointers.delete(event.pointerId);
    if (event.type === "pointercancel" || !alone || pointer.far > 10) lastTap = null;
    else if (isDoubleTap(event)) toggle(pointer.view, event.clientX, event.clientY);
  }

  function onWheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 33;
    const turned = Math.min(Math.max(event.deltaY * lines, -240), 240);
    zoomAt(event.currentTarget, event.clientX, event.clientY, Math.exp(-turned / 400));
  }

  for (const view of views) {
    view.addEventListener("pointerdown", onDown);
    view.addEventListener("pointermove", onMove);
    view.addEventListener("pointerup", onUp);
    view.addEventListener("pointercancel", onUp);
    view.addEventListener("wheel", onWheel, { passive: false });
    new ResizeObserver(draw).observe(view);
  }

  function atMiddle(action, ...rest) {
    const box = views[0].getBoundingClientRect();
    action(views[0], box.left + box.width / 2, box.top + box.height / 2, ...rest);
  }

  return {
    draw,
    reset() { zoom = 1; x = y = 0.5; draw(); },
    toggle: () => atMiddle(toggle),
    zoomBy: (factor) => atMiddle(zoomAt, factor),
    // By a part of the view's side.
    pan: (right, down) => move(
      views[0], -right * views[0].clientWidth, -down * views[0].clientHeight),
  };
}
