// ---- Comparing: which pair, which two of its pictures, and what was measured on them -----------------

function compare() {
  const previews = [...document.querySelectorAll("#gallery figure")].map(
    (figure) => figure.querySelector("img"));
  const made = new Map();
  const state = { pair: 0, left: -1, right: -1 };
  const viewer = new Viewer(at("viewer"), afterDraw);

  const layers = () => data.pairs[state.pair].layers;
  const pictureOf = (place) => data.pictures[layers()[place].picture];

  function layer(place) {
    const number = layers()[place].picture;
    const info = data.pictures[number];
    if (!info.size) return null;
    if (!made.has(number)) made.set(number, new Layer(info, previews[number], () => viewer.redraw()));
    return made.get(number);
  }

  function afterDraw() {
    const percent = viewer.percent;
    at("zoom").textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
    at("zoom-fit").disabled = viewer.zoom <= 1.001;
    const problems = [state.left, state.right].map((place) => problem(place)).filter(Boolean);
    at("viewer-note").hidden = problems.length === 0;
    const text = [...new Set(problems)].join(" ");
    if (at("viewer-note").textContent !== text) at("viewer-note").textContent = text;
  }

  function problem(place) {
    const info = pictureOf(place);
    if (!info.size) return `${layers()[place].name}: no picture, ${info.problem}.`;
    const found = layer(place);
    const whole = info.shown[0] >= info.size[0];
    if (!found.missing || whole || viewer.percent <= 100 * info.shown[0] / info.size[0]) return "";
    return `${layers()[place].name}: a preview of ${info.shown.join("x")} px; full resolution is in `
      + `${info.tiles ? `${info.tiles.folder.split("/").slice(0, 2).join("/")}/` : info.file}, which is not beside this page.`;
  }

  function options(select, chosen) {
    select.replaceChildren(...layers().map((one, place) => make("option", { value: place }, one.name)));
    select.value = String(chosen);
  }

  // The same names are shown of the next pair, where it has them.
  function choosePair(pair) {
    const names = [state.left, state.right].map((place) => layers()[place]?.name);
    state.pair = pair;
    const place = (name, otherwise) => {
      const found = layers().findIndex((one) => one.name === name);
      return found >= 0 ? found : otherwise;
    };
    const results = layers().map((one, number) => [one, number]).filter(([one]) => one.records);
    const content = place("Content", 0);
    state.left = place(names[0], content);
    state.right = place(names[1], results[0]?.[1] ?? layers().length - 1);
    viewer.reset();
    show();
  }

  function show() {
    at("pair").value = String(state.pair);
    at("pair-before").disabled = state.pair === 0;
    at("pair-after").disabled = state.pair === data.pairs.length - 1;
    options(at("left"), state.left);
    options(at("right"), state.right);
    viewer.element.querySelector(".side.left").textContent = layers()[state.left].name;
    viewer.element.querySelector(".side.right").textContent = layers()[state.right].name;
    viewer.element.setAttribute("aria-label",
      `${data.pairs[state.pair].title}: ${layers()[state.left].name} on the left of the divider, `
      + `${layers()[state.right].name} on the right`);
    at("strip").replaceChildren(...layers().map(thumb));
    at("pair-table").replaceChildren(...metricsTable());
    viewer.show(layer(state.left), layer(state.right));
  }

  function thumb(one, place) {
    const info = data.pictures[one.picture];
    const side = [place === state.left && "left", place === state.right && "right"].filter(Boolean);
    const image = previews[one.picture]
      ? make("img", { src: previews[one.picture].src, alt: "", loading: "lazy" })
      : make("span", { class: "none" }, "no picture");
    const button = make("button", {
      type: "button", title: `Show on the right: ${info.caption}`,
      "aria-label": `Show on the right: ${one.name}`, "aria-pressed": String(place === state.right),
    }, image, make("span", {}, one.name, ...side.map((word) => make("b", { class: word }, word))));
    button.addEventListener("click", () => {
      state.right = place;
      show();
      at("strip").children[place].focus();
    });
    return button;
  }

  const short = (value) => (typeof value === "number" ? Number(value.toPrecision(4)) : value);

  // What was measured on this pair, of the results that are shown, the better one marked.
  function metricsTable() {
    const shown = [...new Set([state.left, state.right])].map((place) => layers()[place])
      .filter((one) => one.records);
    const names = [...new Set(shown.flatMap((one) => Object.keys(one.metrics)))];
    if (!names.length) return [];
    const heads = shown.map((one) => make(
      "th", { scope: "col", class: "number" }, make("a", { href: "#tables", "data-r": one.records }, one.name)));
    const rows = names.map((name) => {
      const values = shown.map((one) => one.metrics[name]);
      const best = bestOf(name, values);
      return make("tr", {}, make("th", { scope: "row", title: name }, data.names[name] ?? name), ...shown.map((one, number) => make(
        "td", { class: `number${best === number ? " best" : ""}`, "data-r": one.records },
        values[number] === undefined ? "–" : written(short(values[number])))));
    });
    return [make("div", { class: "grid" }, make(
      "table", {}, make("caption", {}, `Measured on ${data.pairs[state.pair].title}`),
      make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "word" }, "Metric"), ...heads)),
      make("tbody", {}, ...rows)))];
  }

  function bestOf(name, values) {
    const better = data.better[name] ?? data.better[name.replace(/_relu\d_1$/, "")];
    if (!better || values.length < 2 || values.some((value) => typeof value !== "number")) return -1;
    if (values[0] === values[1]) return -1;
    return (better === "lower") === (values[0] < values[1]) ? 0 : 1;
  }

  function enlarge(on) {
    at("compare").classList.toggle("large", on);
    document.documentElement.classList.toggle("covered", on);
    at("enlarge").setAttribute("aria-pressed", String(on));
    viewer.redraw();
  }

  at("pair").replaceChildren(
    ...data.pairs.map((one, number) => make("option", { value: number }, one.title)));
  at("pair").addEventListener("change", () => choosePair(Number(at("pair").value)));
  at("pair-before").addEventListener("click", () => choosePair(state.pair - 1));
  at("pair-after").addEventListener("click", () => choosePair(state.pair + 1));
  for (const side of ["left", "right"]) {
    at(side).addEventListener("change", () => {
      state[side] = Number(at(side).value);
      show();
    });
  }
  at("swap").addEventListener("click", () => {
    [state.left, state.right] = [state.right, state.left];
    show();
  });
  at("zoom-in").addEventListener("click", () => viewer.zoomTo(viewer.zoom * 1.5));
  at("zoom-out").addEventListener("click", () => viewer.zoomTo(viewer.zoom / 1.5));
  at("zoom-fit").addEventListener("click", () => viewer.reset());
  at("zoom-full").addEventListener("click", () => viewer.zoomTo(viewer.full));
  at("enlarge").addEventListener("click", () => enlarge(!at("compare").classList.contains("large")));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !panel.open) enlarge(false);
  });
  choosePair(0);
  return { viewer, state };
}

if (data.pairs.length) compare();
