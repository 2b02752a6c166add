const study = JSON.parse(document.getElementById("study").textContent);
const stored = `bench-study-${study.id}`;
const at = (id) => document.getElementById(id);

let state = null;      // the answers file, as it will be saved
let ready = false;     // both results are shown
let since = 0;         // when they were, or when the page came back into view
let looked = 0;        // ms of earlier looks at this question
let zoomed = false;
let showing = 0;       // number of the look: pictures of an earlier one are ignored
let storable = true;
let unsaved = false;

const source = (picture) => study.embedded?.[picture] ?? `images/${picture}${study.suffix}`;
const sheet = () => study.sheets[state.sheet];

// ---- Keeping -----------------------------------------------------------------------------------

function keep() {
  unsaved = true;
  try {
    localStorage.setItem(stored, JSON.stringify(state));
  } catch {
    storable = false;
  }
}

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(stored));
    const whole = found?.study === study.id && found.format === "bench-study-answers"
      && Array.isArray(found.answers) && found.answers.length <= study.sheets[found.sheet]?.length;
    return whole ? found : null;
  } catch (error) {
    storable = error instanceof SyntaxError;
    return null;
  }
}

function newRater() {
  const digits = crypto.getRandomValues(new Uint8Array(8));
  const asked = Number(location.hash.slice(1)) - 1;
  const given = Number.isInteger(asked) && asked >= 0 && asked < study.sheets.length;
  return {
    format: "bench-study-answers",
    version: 1,
    study: study.id,
    rater: Array.from(digits, (digit) => digit.toString(16).padStart(2, "0")).join(""),
    sheet: given ? asked : Math.floor(Math.random() * study.sheets.length),
    started: new Date().toISOString(),
    finished: null,
    pixel_ratio: window.devicePixelRatio,
    touch: matchMedia("(pointer: coarse)").matches,
    answers: [],
  };
}

// ---- The three screens -------------------------------------------------------------------------

function show(screen) {
  for (const id of ["start", "judge", "end"]) at(id).hidden = id !== screen;
  window.scrollTo(0, 0);
}

function showStart() {
  state = kept() ?? newRater();
  keep();
  unsaved = false;
  const done = state.answers.length;
  at("count").textContent = sheet().length;
  at("welcome").hidden = done === 0;
  at("welcome").textContent = `Welcome back: ${done} of ${sheet().length} answers are kept.`;
  at("begin").textContent = done ? "Continue" : "Begin";
  at("afresh").hidden = done === 0;
  if (!storable) {
    at("storage").textContent = "This browser keeps nothing for this page: "
      + "do not close it before you have saved your answers.";
  }
  show("start");
}

function showNext() {
  if (state.answers.length === sheet().length) return showEnd();
  show("judge");
  showQuestion();
}

function showQuestion() {
  const number = state.answers.length;
  const [pair, left, right] = sheet()[number];
  const [content, style] = study.pairs[pair];
  const look = ++showing;
  ready = false;
  at("place").textContent = `${number + 1} of ${sheet().length}`;
  at("bar").max = sheet().length;
  at("bar").value = number;
  at("back").disabled = number === 0;
  at("trouble").hidden = true;
  enableAnswers(false);
  zoomed = false;
  const wanted = { content, style, left, right };
  let missing = Object.keys(wanted).length;
  for (const [id, picture] of Object.entries(wanted)) {
    const image = at(id);
    image.style.visibility = "hidden";
    image.onload = () => {
      if (look !== showing) return;
      image.style.visibility = "visible";
      arrange();
      results.reset();
      if (--missing === 0) begin(look);
    };
    image.onerror = () => {
      if (look !== showing) return;
      at("trouble").textContent = `A picture cannot be shown (${source(picture).slice(0, 60)}). `
        + "Is the whole folder there? Load the page again; your answers are kept.";
      at("trouble").hidden = false;
    };
    image.removeAttribute("src");  // the same picture again is a new look too
    image.src = source(picture);
  }
}

function begin(look) {
  ready = true;
  since = performance.now();
  enableAnswers(true);
  const next = sheet()[state.answers.length + 1];
  if (next && look === showing) {
    const ahead = [...study.pairs[next[0]], next[1], next[2]];
    for (const picture of ahead) new Image().src = source(picture);
  }
}

// Side by side or one above the other, whichever shows the results larger.
function arrange() {
  const { clientWidth: width, clientHeight: height } = at("results");
  const { naturalWidth: across, naturalHeight: down } = at("left");
  if (!across) return;
  const beside = Math.min(width / 2 / across, height / down);
  const stacked = Math.min(width / across, height / 2 / down);
  at("results").classList.toggle("stacked", stacked > beside);
}

function enableAnswers(on) {
  // Not `disabled`, which would take the keyboard's focus away at every question.
  for (const id of ["answer-left", "answer-right"]) at(id).setAttribute("aria-disabled", String(!on));
}

function showEnd() {
  const whole = state.answers.length === sheet().length;
  if (whole && !state.finished) state.finished = new Date().toISOString();
  keep();
  at("end-title").textContent = whole ? "Done, thank you!" : "Stopped for now";
  at("end-text").textContent = whole
    ? "Save your answers and send the file to whoever gave you this page."
    : `${state.answers.length} of ${sheet().length} questions are answered. Go on now or later, or `
      + "save what there is and send the file.";
  at("on").textContent = whole ? "Back to the last question" : "Back to the questions";
  at("saved").textContent = "";
  at("copy").value = JSON.stringify(state);
  show("end");
  at("end-title").focus();
}

// ---- Answers -----------------------------------------------------------------------------------

function answer(choice) {
  if (!ready) return;
  ready = false;
  const number = state.answers.length;
  const [, left, right] = sheet()[number];
  const ms = Math.round(looked + (document.hidden ? 0 : performance.now() - since));
  const size = [window.innerWidth, window.innerHeight];
  state.answers.push({ question: number, left, right, choice, ms, zoomed, window: size });
  looked = 0;
  keep();
  showNext();
}

function back() {
  const last = state.answers.pop();
  if (!last) return;
  looked = last.ms;
  state.finished = null;
  keep();
  showNext();
}

function save() {
  const name = `answers-${state.study}-${state.rater}.json`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(state, null, 1)], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  unsaved = false;
  at("saved").textContent = `Saved as ${name}, where this browser puts downloads.`;
}

// ---- Wiring ------------------------------------------------------------------------------------

const results = zoomGroup([...document.querySelectorAll("#results .view")], (close) => {
  zoomed ||= close;
  at("zoom").setAttribute("aria-pressed", String(close));
});
new ResizeObserver(arrange).observe(at("results"));
const large = zoomGroup([document.querySelector("#large .view")]);

function showLarge(id) {
  const image = document.querySelector("#large img");
  image.onload = () => { image.style.visibility = "visible"; large.reset(); };
  image.alt = at(id).alt;
  image.src = at(id).src;
  at("large").showModal();
}

document.querySelectorAll("[data-ask]").forEach((one) => { one.textContent = study.ask; });
document.querySelectorAll("[data-large]").forEach((button) => {
  button.onclick = () => showLarge(button.dataset.large);
});
at("begin").onclick = () => {
  state.pixel_ratio = window.devicePixelRatio;
  state.touch = matchMedia("(pointer: coarse)").matches;
  showNext();
};
at("afresh").onclick = () => {
  if (!confirm("This forgets the answers kept in this browser. Are they saved?")) return;
  state = newRater();
  keep();
  showStart();
};
at("back").onclick = back;
at("stop").onclick = showEnd;
at("on").onclick = () => (state.answers.length === sheet().length ? back() : showNext());
at("save").onclick = save;
at("zoom").onclick = results.toggle;
at("answer-left").onclick = () => answer("left");
at("answer-right").onclick = () => answer("right");
at("close").onclick = () => at("large").close();

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at("judge").hidden) return;
  const target = at("large").open ? large : results;
  const moves = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] };
  const zooms = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 };
  const answers = { ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right" };
  if (event.shiftKey && moves[event.key]) target.pan(...moves[event.key]);
  else if (event.key in zooms) target.zoomBy(zooms[event.key]);
  // A key held down is one answer, not one for each time it repeats.
  else if (event.repeat) { if (event.key in answers || event.key === "Enter") event.preventDefault(); return; }
  else if (event.key === "z" || event.key === "Z") target.toggle();
  else if (at("large").open) return;
  else if (event.key in answers) answer(answers[event.key]);
  else if (event.key === "Backspace") back();
  else return;
  event.preventDefault();
});

document.addEventListener("visibilitychange", () => {
  if (!ready) return;
  if (document.hidden) looked += performance.now() - since;
  else since = performance.now();
});

window.addEventListener("beforeunload", (event) => {
  if (unsaved && !storable && state.answers.length) event.preventDefault();
});

showStart();
