// ---- Tables: sorted, filtered, and drawn as far as they are looked at -------------------------------

const CHUNK = 120;  // rows that are added at a time
const FILTERED_FROM = 6;  // rows from which a table can be filtered
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

class Grid {
  constructor(section) {
    this.frame = section.querySelector(".grid");
    this.body = section.querySelector("tbody");
    this.heads = [...section.querySelectorAll("thead th")];
    this.rows = [...this.body.rows];
    this.words = "";
    this.chosen = new Map();  // column: the text that its cells must have
    this.sorted = { column: -1, down: false };
    this.shown = this.rows;
    this.heads.forEach((head, column) => this.makeSortable(head, column));
    if (this.rows.length >= FILTERED_FROM) this.frame.before(this.tools(section));
    this.frame.addEventListener("scroll", () => this.fill(), { passive: true });
    addEventListener("beforeprint", () => this.body.append(...this.shown));
    addEventListener("afterprint", () => this.draw());
    this.draw();
  }

  text(row, column) {
    return row.cells[column].textContent.trim();
  }

  makeSortable(head, column) {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const { column: before, down } = this.sorted;
      if (before !== column) this.sorted = { column, down: false };
      else this.sorted = down ? { column: -1, down: false } : { column, down: true };
      this.heads.forEach((one, place) => {
        const way = place !== this.sorted.column ? null : this.sorted.down ? "descending" : "ascending";
        if (way) one.setAttribute("aria-sort", way);
        else one.removeAttribute("aria-sort");
      });
      this.update();
    });
  }

  tools(section) {
    const name = section.querySelector("h3").firstChild.textContent.trim();
    const box = make("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows of ${name}`, autocomplete: "off", spellcheck: "false" });
    box.addEventListener("input", () => {
      this.words = box.value;
      this.update();
    });
    this.choices = [];
    this.heads.forEach((head, column) => {
      if (!head.dataset.choices) return;
      const label = head.querySelector("span").textContent;
      const choice = make(
        "select", { "aria-label": label }, make("option", { value: "" }, `${label}: all`),
        ...JSON.parse(head.dataset.choices).map((one) => make("option", { value: one }, one)));
      choice.addEventListener("change", () => {
        if (choice.value) this.chosen.set(column, choice.value);
        else this.chosen.delete(column);
        choice.classList.toggle("on", Boolean(choice.value));
        this.update();
      });
      this.choices.push(choice);
    });
    this.count = make("span", { class: "count", role: "status" });
    this.clear = make("button", { type: "button" }, "Clear");
    this.clear.addEventListener("click", () => {
      box.value = this.words = "";
      this.chosen.clear();
      for (const choice of this.choices) {
        choice.value = "";
        choice.classList.remove("on");
      }
      this.update();
      box.focus();
    });
    const choices = this.choices.length ? [make("div", { class: "choices" }, ...this.choices)] : [];
    return make("div", { class: "tools" }, box, ...choices, this.clear, this.count);
  }

  // All words must be in the row; each choice must be the cell's text.
  keeps(row) {
    const words = this.words.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) {
      row.lower ??= row.textContent.toLowerCase();
      if (!words.every((word) => row.lower.includes(word))) return false;
    }
    return [...this.chosen].every(([column, text]) => this.plain(row, column) === text);
  }

  // A cell's text without the sign of its footnote.
  plain(row, column) {
    const sign = row.cells[column].querySelector("sup")?.textContent ?? "";
    const text = this.text(row, column);
    return sign && text.endsWith(sign) ? text.slice(0, -sign.length).trim() : text;
  }

  update() {
    const { column, down } = this.sorted;
    this.shown = this.rows.filter((row) => this.keeps(row));
    if (column >= 0) {
      const numbers = this.heads[column].classList.contains("number");
      const keyed = this.shown.map((row) => {
        const value = row.cells[column].dataset.v;
        if (numbers) return [value === undefined ? null : Number(value), row];
        const text = this.plain(row, column);
        return [text === "–" ? null : text, row];
      });
      const way = down ? -1 : 1;
      keyed.sort(([a], [b]) => {
        // what is missing comes last, whichever way
        if (a === null || b === null) return (a === null) - (b === null);
        return way * (numbers ? a - b : collator.compare(a, b));
      });
      this.shown = keyed.map(([, row]) => row);
    }
    this.draw();
  }

  draw() {
    this.body.replaceChildren(...this.shown.slice(0, CHUNK));
    if (!this.shown.length) {
      this.body.append(make("tr", {}, make(
        "td", { class: "nothing", colspan: this.heads.length }, "No row matches.")));
    }
    this.frame.scrollTop = 0;
    this.body.parentElement.classList.toggle("ordered", this.sorted.column >= 0);
    if (!this.count) return;
    const all = this.rows.length.toLocaleString("en-GB");
    const some = this.shown.length.toLocaleString("en-GB");
    this.count.textContent = some === all ? `${all} rows` : `${some} of ${all} rows`;
    this.clear.hidden = !this.words && !this.chosen.size;
  }

  fill() {
    const { scrollTop, clientHeight, scrollHeight } = this.frame;
    const there = this.body.rows.length;
    if (there < this.shown.length && scrollTop + clientHeight > scrollHeight - 1200) {
      this.body.append(...this.shown.slice(there, there + CHUNK));
    }
  }
}

for (const section of document.querySelectorAll("section.table")) {
  if (section.querySelector("tbody")) new Grid(section);
}
