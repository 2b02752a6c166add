// ---- The viewer: two pictures in one frame, a divider between them ------------------------------------

const SOFTEST = 8;  // pixels of the screen that one of the picture takes at most

class Viewer {
  constructor(element, onChange) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.divider = at("divider");
    this.onChange = onChange;
    this.layers = [null, null];
    this.size = [1, 1];  // pixels of the frame
    this.zoom = 1;       // 1 shows the whole frame
    this.x = this.y = 0.5;  // what is in the middle, as fractions of the frame
    this.split = 0.5;    // where the divider is, as a fraction of the view
    this.pointers = new Map();
    this.queued = false;
    this.listen();
    new ResizeObserver(() => this.redraw()).observe(element);
  }

  show(left, right) {
    this.layers = [left, right];
    const known = this.layers.filter(Boolean).map((layer) => layer.info.size);
    const size = known.sort((a, b) => b[0] * b[1] - a[0] * a[1])[0] ?? [1, 1];
    this.size = size;
    this.element.style.setProperty("--shape", String(size[0] / size[1]));
    this.redraw();
  }

  reset() {
    this.zoom = 1;
    this.x = this.y = 0.5;
    this.redraw();
  }

  get fit() {
    const { clientWidth, clientHeight } = this.element;
    return Math.min(clientWidth / this.size[0], clientHeight / this.size[1]) || 1;
  }

  // Zoom at which a pixel of the picture is a pixel of the screen.
  get full() {
    return 1 / (this.fit * devicePixelRatio);
  }

  get percent() {
    return 100 * this.zoom / this.full;
  }

  redraw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.draw();
    });
  }

  draw() {
    const { clientWidth, clientHeight } = this.element;
    const ratio = devicePixelRatio;
    const { canvas } = this;
    canvas.width = Math.round(clientWidth * ratio);
    canvas.height = Math.round(clientHeight * ratio);
    this.zoom = Math.min(Math.max(this.zoom, 1), Math.max(SOFTEST * this.full, 1));
    const scale = this.fit * this.zoom * ratio;
    const width = this.size[0] * scale, height = this.size[1] * scale;
    this.x = within(this.x, canvas.width / width);
    this.y = within(this.y, canvas.height / height);
    const frame = { x: canvas.width / 2 - this.x * width, y: canvas.height / 2 - this.y * height, width, height };
    const pen = canvas.getContext("2d");
    const split = Math.round(this.split * canvas.width);
    const sides = [[0, split], [split, canvas.width - split]];
    sides.forEach(([from, across], side) => {
      const layer = this.layers[side];
      if (!layer || across <= 0) return;
      pen.save();
      pen.beginPath();
      pen.rect(from, 0, across, canvas.height);
      pen.clip();
      layer.draw(pen, contained(layer.info.size, frame), canvas);
      pen.restore();
    });
    this.divider.style.left = `${100 * this.split}%`;
    this.divider.setAttribute("aria-valuenow", String(Math.round(100 * this.split)));
    this.divider.setAttribute("aria-valuetext", `${Math.round(100 * this.split)} % left picture`);
    this.element.classList.toggle("zoomed", this.zoom > 1.001);
    this.onChange(this);
  }

  moveDivider(split) {
    this.split = Math.min(Math.max(split, 0), 1);
    this.redraw();
  }

  // By pixels of the screen.
  pan(right, down) {
    const scale = this.fit * this.zoom;
    this.x -= right / (this.size[0] * scale);
    this.y -= down / (this.size[1] * scale);
    this.redraw();
  }

  // What is under a point of the view stays there; the middle without one.
  zoomTo(zoom, right = 0, down = 0) {
    const before = this.zoom;
    this.zoom = Math.min(Math.max(zoom, 1), Math.max(SOFTEST * this.full, 1));
    const change = (1 / before - 1 / this.zoom) / this.fit;
    this.x += right * change / this.size[0];
    this.y += down * change / this.size[1];
    this.redraw();
  }

  zoomAt(event, factor) {
    const box = this.element.getBoundingClientRect();
    this.zoomTo(this.zoom * factor,
      event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
  }

  toggle(event) {
    this.zoomAt(event, this.zoom > 1.001 ? 1 / this.zoom : Math.max(this.full, 2));
  }

  listen() {
    const { element } = this;
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.moved(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      element.addEventListener(kind, (event) => this.up(event));
    }
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("keydown", (event) => this.key(event));
  }

  // The divider is dragged, and so is the whole view while there is nothing to move in it.
  down(event) {
    if (event.button !== 0) return;
    this.element.setPointerCapture(event.pointerId);
    const dividing = event.target === this.divider || this.zoom <= 1.001;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, far: 0, dividing });
    if (this.pointers.size > 1) for (const one of this.pointers.values()) one.dividing = false;
    if (event.target === this.divider) this.divider.focus({ preventScroll: true });
    else this.element.focus({ preventScroll: true });
  }

  moved(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    const before = middle([...this.pointers.values()]);
    pointer.far += Math.hypot(event.clientX - pointer.x, event.clientY - pointer.y);
    pointer.x = event.clientX;
    pointer.y = event.clientY;
    if (pointer.dividing) {
      const box = this.element.getBoundingClientRect();
      if (pointer.far > 3) this.moveDivider((event.clientX - box.left) / box.width);
      return;
    }
    const after = middle([...this.pointers.values()]);
    this.pan(after.x - before.x, after.y - before.y);
    if (before.spread > 0) {
      this.zoomAt({ clientX: after.x, clientY: after.y }, after.spread / before.spread);
    }
  }

  up(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!pointer || event.type === "pointercancel" || pointer.far > 8 || this.pointers.size) {
      this.tapped = null;
      return;
    }
    const before = this.tapped;
    this.tapped = { time: event.timeStamp, x: event.clientX, y: event.clientY };
    if (before && event.timeStamp - before.time < 350
        && Math.hypot(event.clientX - before.x, event.clientY - before.y) < 30) {
      this.tapped = null;
      this.toggle(event);
    }
  }

  // Only a view that is being used takes the wheel from the page, and gives it back when it is small.
  wheel(event) {
    const used = event.ctrlKey || this.element.contains(document.activeElement);
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 33;
    const turned = Math.min(Math.max(event.deltaY * lines, -240), 240);
    if (!used || (turned > 0 && this.zoom <= 1.001 && !event.ctrlKey)) return;
    event.preventDefault();
    this.zoomAt(event, Math.exp(-turned / (event.ctrlKey ? 120 : 400)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const arrow = arrows[event.key];
    const dividing = document.activeElement === this.divider || (this.zoom <= 1.001 && !arrow?.[1]);
    if (arrow && dividing) this.moveDivider(this.split + 0.02 * (arrow[0] - arrow[1]));
    else if (arrow && this.zoom > 1.001) {
      this.pan(-arrow[0] * this.element.clientWidth / 8, -arrow[1] * this.element.clientHeight / 8);
    } else if (event.key === "Home" && dividing) this.moveDivider(0);
    else if (event.key === "End" && dividing) this.moveDivider(1);
    else if (event.key === "+" || event.key === "=") this.zoomTo(this.zoom * 1.5);
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5);
    else if (event.key === "0") this.reset();
    else if (event.key === "1") this.zoomTo(this.full);
    else return;
    event.preventDefault();
  }
}

// The middle of a view that shows this part of the frame, as a fraction of it.
function within(place, part) {
  return part >= 1 ? 0.5 : Math.min(Math.max(place, part / 2), 1 - part / 2);
}

// Where a picture of another shape is in the frame: as large as it can be, in the middle.
function contained([width, height], frame) {
  const scale = Math.min(frame.width / width, frame.height / height);
  return {
    x: frame.x + (frame.width - width * scale) / 2, y: frame.y + (frame.height - height * scale) / 2,
    width: width * scale, height: height * scale,
  };
}

function middle(points) {
  const two = points.slice(0, 2);
  const [a, b] = two;
  return {
    x: two.reduce((sum, point) => sum + point.x, 0) / two.length,
    y: two.reduce((sum, point) => sum + point.y, 0) / two.length,
    spread: b ? Math.hypot(a.x - b.x, a.y - b.y) : 0,
  };
}
