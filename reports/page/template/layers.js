// ---- Pictures in layers: the preview in the page, and what is finer beside it ------------------------

const TILE = 512;
const KEPT_TILES = 160;

function loaded(address) {
  return new Promise((found, missing) => {
    const image = new Image();
    image.onload = () => found(image);
    image.onerror = () => missing(new Error(address));
    image.src = address;
  });
}

// A picture of any size: `draw` shows what there is and asks for what would be better.
class Layer {
  constructor(info, preview, changed) {
    this.info = info;
    this.changed = changed;
    this.tiles = new Map();  // "level/column_row": an image, or null while it loads
    this.whole = null;
    this.asked = false;
    this.missing = false;  // nothing finer lies beside the page
    if (preview) {
      loaded(preview.src).then((image) => {
        this.preview = image;
        changed();
      });
    }
  }

  get finest() {
    return this.info.tiles || this.info.file ? (this.missing ? "missing" : "there") : "none";
  }

  // frame: where the whole picture is on the canvas, in its pixels, which may lie far outside.
  draw(pen, frame, canvas) {
    const [width] = this.info.size;
    const scale = frame.width / width;
    pen.imageSmoothingEnabled = scale < 2;
    pen.imageSmoothingQuality = "high";
    const needed = scale > Math.min(1, 1.02 * this.info.shown[0] / width) && !this.missing;
    if (this.whole) {
      pen.drawImage(this.whole, frame.x, frame.y, frame.width, frame.height);
      return;
    }
    if (this.preview) pen.drawImage(this.preview, frame.x, frame.y, frame.width, frame.height);
    if (!needed) return;
    if (this.info.tiles) this.drawTiles(pen, frame, canvas, scale);
    else if (this.info.file) this.askWhole();
  }

  askWhole() {
    if (this.asked) return;
    this.asked = true;
    loaded(this.info.file).then(
      (image) => { this.whole = image; }, () => { this.missing = true; }).then(this.changed);
  }

  drawTiles(pen, frame, canvas, scale) {
    const last = this.info.tiles.levels - 1;
    const wanted = Math.min(Math.max(last + Math.ceil(Math.log2(scale) - 0.01), 0), last);
    for (let level = Math.max(0, wanted - 3); level <= wanted; level++) {
      this.drawLevel(pen, frame, canvas, level, level === wanted);
    }
  }

  // Neighbours share their edges on the canvas, rounded to its pixels, so that no seam shows.
  drawLevel(pen, frame, canvas, level, ask) {
    const [width, height] = this.info.size;
    const reduced = 2 ** (this.info.tiles.levels - 1 - level);
    const across = Math.ceil(width / reduced), down = Math.ceil(height / reduced);
    const right = frame.width / across, below = frame.height / down;
    const first = (start, unit) => Math.max(0, Math.floor(-start / (unit * TILE)));
    const end = (start, unit, size, room) =>
      Math.min(Math.ceil(size / TILE), Math.ceil((room - start) / (unit * TILE)));
    for (let row = first(frame.y, below); row < end(frame.y, below, down, canvas.height); row++) {
      for (let column = first(frame.x, right); column < end(frame.x, right, across, canvas.width); column++) {
        const tile = this.tile(`${level}/${column}_${row}`, ask);
        if (!tile) continue;
        const edge = (start, unit, place) => Math.round(start + unit * place);
        const x = edge(frame.x, right, column * TILE), y = edge(frame.y, below, row * TILE);
        const x2 = edge(frame.x, right, column * TILE + tile.naturalWidth);
        const y2 = edge(frame.y, below, row * TILE + tile.naturalHeight);
        pen.drawImage(tile, x, y, x2 - x, y2 - y);
      }
    }
  }

  tile(name, ask) {
    if (this.tiles.has(name)) {
      const tile = this.tiles.get(name);
      this.tiles.delete(name);  // the last used is the last to go
      this.tiles.set(name, tile);
      return tile;
    }
    // One that fails tells that the folder is not there: the others are not asked for.
    if (!ask || this.missing || (!this.reached && this.asked)) return null;
    this.asked = true;
    this.tiles.set(name, null);
    loaded(`${this.info.tiles.folder}/${name}.jpg`).then((image) => {
      this.reached = true;
      if (this.tiles.has(name)) this.tiles.set(name, image);
      while (this.tiles.size > KEPT_TILES) this.tiles.delete(this.tiles.keys().next().value);
    }, () => { this.missing = true; }).then(this.changed);
    return null;
  }
}
