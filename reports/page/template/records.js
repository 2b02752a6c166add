// ---- Records: a panel with every field of the record that a number comes from ---------------------

const ENDING_WORDS = {
  ok: "ok", out_of_memory: "out of memory", timeout: "over time", crashed: "crashed",
  unsupported: "unsupported", skipped: "skipped", run_limit: "not measured (run's time limit)",
  predicted: "predicted",
};
const ELSEWHERE = new Set(["per_pair", "ending", "status", "reason", "latency_samples_ms"]);  // fields with a place of their own
const panel = at("record");
let shownRecords = [];
let shownAt = 0;

function inColumn(column, place) {
  if (column === undefined) return null;
  if ("same" in column) return column.same;
  return "each" in column ? column.each[place] : column.of[column.at[place]];
}
const field = (name, place) => inColumn(data.records.columns[name], place);

function shortModel(place) {
  const model = field("model", place) ?? "";
  const colon = model.indexOf(":");
  if (colon < 0) return model;
  return `${model.slice(0, colon + 1)}${model.slice(colon + 1).split(/[\\/]/).filter(Boolean).pop() ?? ""}`;
}

function settings(place) {
  const repeat = field("repeat", place);
  return [
    field("run", place), field("kind", place), `${field("width", place)}x${field("height", place)} px`,
    field("execution", place), field("precision", place), field("device", place),
    repeat ? `process ${repeat + 1}` : null,
  ].filter(Boolean).join(" · ");
}

const status = (place) => make(
  "span", { class: `status s-${field("ending", place)}` },
  ENDING_WORDS[field("ending", place)] ?? field("status", place));

function openRecords(places) {
  shownRecords = places;
  shownAt = 0;
  const choice = at("record-choice");
  choice.replaceChildren(...places.map((place, number) => make(
    "option", { value: number },
    `${number + 1} of ${places.length}: ${shortModel(place)} · ${settings(place)} · `
      + `${ENDING_WORDS[field("ending", place)] ?? ""}`)));
  at("record-which").hidden = places.length < 2;
  showRecord();
  if (!panel.open) panel.showModal();
  at("record-body").scrollTop = 0;
}

function showRecord() {
  const place = shownRecords[shownAt];
  at("record-choice").value = String(shownAt);
  at("record-before").disabled = shownAt === 0;
  at("record-after").disabled = shownAt === shownRecords.length - 1;
  at("record-title").textContent = shortModel(place);
  at("record-settings").replaceChildren(status(place), ` ${settings(place)}`);
  const body = [fileOf(place)];
  const reason = field("reason", place);
  if (reason) body.push(make("p", { class: "callout" }, reason));
  const samples = field("latency_samples_ms", place);
  if (samples) body.push(...samplesOf(place, samples));
  for (const group of data.records.groups) {
    const known = group.fields.filter((name) => !ELSEWHERE.has(name) && field(name, place) !== null);
    if (known.length) {
      body.push(make("h3", {}, group.title), make("dl", { class: "values" },
        ...known.map((name) => entry(name, field(name, place)))));
    }
  }
  const pairs = field("per_pair", place);
  if (pairs) body.push(make("h3", {}, "Over the pairs"), pairsTable(pairs));
  at("record-body").replaceChildren(...body);
}

function entry(name, value) {
  const unit = data.records.units[name];
  let shown;
  if (value.five) {
    shown = [value.count === 1 ? "one sample"
      : `${value.count} samples, quartiles ${value.five.slice(1, 4).map(written).join(", ")}`];
  } else if (typeof value === "object") {
    shown = [make("ul", {}, ...Object.entries(value).map(
      ([key, one]) => make("li", {}, make("code", {}, key), ` ${written(one)}`)))];
  } else if (typeof value === "boolean") {
    shown = [value ? "yes" : "no"];
  } else {
    shown = [typeof value === "number" ? written(value) : value];
  }
  if (unit && typeof value === "number") shown.push(" ", make("small", {}, unit));
  const wide = typeof value === "object" || String(value).length > 60;
  return make("div", wide ? { class: "wide" } : {}, make("dt", {}, name), make("dd", {}, ...shown));
}

// Samples as a box from quartile to quartile, the median, whiskers to the extremes, and above it
// the interval of the median.
function samplesOf(place, { count, five }) {
  const [least, lower, middle, upper, most] = five;
  const low = field("latency_ci_low_ms", place), high = field("latency_ci_high_ms", place);
  const outliers = field("latency_outliers", place);
  const swatch = (name) => make("i", { class: `swatch ${name}` });
  if (count === 1) {
    return [make("p", { class: "note" }, `Latency: one sample, ${written(least)} ms, so no interval.`)];
  }
  const words = make("p", { class: "note" },
    `Latency: ${count} samples from ${written(least)} to ${written(most)} ms, median ${written(middle)} ms; `,
    swatch("quartiles"), `quartiles ${written(lower)} and ${written(upper)} ms`);
  if (low !== null) {
    words.append("; ", swatch("interval"), `95 % interval of the median ${written(low)} to ${written(high)} ms`);
  }
  words.append(outliers ? `; ${outliers} beyond the outer fences, kept.` : ".");
  if (most === least) return [words];
  const x = (value) => 2 + 96 * (value - least) / (most - least);
  const bar = (from, to, top, height, name) => `<rect class="${name}" x="${x(from)}" y="${top}" `
    + `width="${Math.max(x(to) - x(from), 0.4)}" height="${height}"/>`;
  const box = make("div", { class: "box", "aria-hidden": "true" });
  box.innerHTML = `<svg viewBox="0 0 100 10" preserveAspectRatio="none">`
    + bar(least, most, 6.6, 0.8, "whisker") + bar(lower, upper, 4, 6, "quartiles")
    + (low === null ? "" : bar(low, high, 1, 1.4, "interval"))
    + bar(middle, middle, 3, 7, "median") + "</svg>";
  return [box, words];
}

function pairsTable(pairs) {
  const rows = Object.entries(pairs).map(([name, [count, ...values]]) => make(
    "tr", {}, make("th", { scope: "row" }, name),
    ...[count, ...values].map((value) => make("td", { class: "number" }, written(value)))));
  const heads = ["Metric", "Pairs", "Least", "Median", "Largest"].map(
    (name, number) => make("th", { scope: "col", class: number ? "number" : "word" }, name));
  return make("div", { class: "grid" }, make(
    "table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)));
}

function fileOf(place) {
  const name = inColumn(data.records.files, place);
  if (name === null) {
    return make("p", { class: "note" }, `Record ${field("id", place)}, process ${field("repeat", place) + 1}; `
      + "its file is not beside this page.");
  }
  const link = make("a", { href: `cells/${encodeURIComponent(name)}` }, `cells/${name}`);
  return make("p", { class: "note" }, "Every field, raw samples included: ", link);
}

function turnRecords(by) {
  shownAt = Math.min(Math.max(shownAt + by, 0), shownRecords.length - 1);
  showRecord();
}

at("record-choice").addEventListener("change", () => {
  shownAt = Number(at("record-choice").value);
  showRecord();
});
at("record-before").addEventListener("click", () => turnRecords(-1));
at("record-after").addEventListener("click", () => turnRecords(1));
at("record-close").addEventListener("click", () => panel.close());
panel.addEventListener("click", (event) => {
  if (event.target === panel) panel.close();  // beside the panel
});

// Whatever says which records it comes from opens them: a cell before its row.
document.addEventListener("click", (event) => {
  const source = event.target.closest("[data-r]");
  if (!source || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (String(getSelection()).trim() && !event.target.closest("a")) return;  // text is being copied
  event.preventDefault();
  openRecords(source.dataset.r.split(" ").map(Number));
});
