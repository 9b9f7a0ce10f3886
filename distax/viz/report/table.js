"use strict";

// Formats a number as Python's format does, for the formats that reports have.
function format(value, kind) {
  if (value === null) return "";
  if (typeof value === "string" || kind === "d" || kind === "") return String(value);
  const digits = Number(kind.slice(1, -1));
  return kind.endsWith("f") ? value.toFixed(digits) : String(Number(value.toPrecision(digits)));
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other));
}

// The table of targets, shown page by page. It can be sorted and filtered; one row is selected.
class TargetTable {
  constructor(scroller, content, onSelect) {
    this.scroller = scroller;
    this.content = content;
    this.onSelect = onSelect;
    this.table = scroller.querySelector("table");
    this.order = Array.from({ length: content.count }, (_, row) => row);
    this.shown = this.order;
    this.shownSet = new Set(this.shown);
    this.page = 0;
    this.selected = null;
    this.onFilter = () => {};
    this.makeHeads();
    this.makeTools();
    const body = this.table.tBodies[0];
    body.addEventListener("click", (event) => this.onClick(event));
    body.addEventListener("keydown", (event) => this.onKey(event));
    this.render();
  }

  makeHeads() {
    [...this.table.tHead.rows[0].cells].forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => this.sort(head, this.content.columns[index][0]));
      head.append(button);
    });
  }

  makeTools() {
    const tools = document.createElement("div");
    tools.className = "tools";
    const label = document.createElement("label");
    this.box = document.createElement("input");
    this.box.type = "search";
    this.box.addEventListener("input", () => this.filter());
    label.append("Filter: ", this.box);
    this.status = document.createElement("output");
    const turns = { "« First": -Infinity, "‹ Previous": -1, "Next ›": 1, "Last »": Infinity };
    this.buttons = Object.entries(turns).map(([text, by]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => this.turn(this.page + by));
      return button;
    });
    tools.append(label, ...this.buttons, this.status);
    this.scroller.before(tools);
  }

  get pages() {
    return Math.max(1, Math.ceil(this.shown.length / this.content.page));
  }

  turn(page) {
    this.page = Math.min(Math.max(page, 0), this.pages - 1);
    this.render();
  }

  // Sorts by a column; a second call reverses the order. Empty cells come last.
  sort(head, name) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of this.table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const values = this.content.values[name];
    const known = (row) => values[row] !== null && values[row] !== "";
    const sorted = this.order.filter(known).sort((one, other) => {
      const order = compare(values[one], values[other]);
      return descending ? -order : order;
    });
    this.order = [...sorted, ...this.order.filter((row) => !known(row))];
    this.shown = this.order.filter((row) => this.shownSet.has(row));
    this.turn(0);
  }

  // Keeps only the rows that contain every word of the box.
  filter() {
    const { columns, values } = this.content;
    this.texts ??= this.order.reduce((texts, row) => {
      const cells = columns.map(([name, kind]) => format(values[name][row], kind));
      texts[row] = cells.join(" ").toLowerCase();
      return texts;
    }, []);
    const words = this.box.value.toLowerCase().split(/\s+/);
    this.shown = this.order.filter((row) => words.every((word) => this.texts[row].includes(word)));
    this.shownSet = new Set(this.shown);
    this.turn(0);
    this.onFilter();
  }

  // Selects a row and turns to its page; null selects none. A filter that hides it is cleared.
  select(row, focus = false) {
    this.selected = row;
    if (row === null) return this.render();
    if (!this.shownSet.has(row)) {
      this.box.value = "";
      this.filter();
    }
    this.turn(Math.floor(this.shown.indexOf(row) / this.content.page));
    const line = this.table.querySelector("[aria-selected=true]");
    const head = this.table.tHead.offsetHeight;
    const above = line.offsetTop - head - this.scroller.scrollTop;
    const below = line.offsetTop + line.offsetHeight - this.scroller.scrollTop;
    // Only the table scrolls, so that the pictures stay in view.
    if (above < 0) this.scroller.scrollTop += above;
    else if (below > this.scroller.clientHeight) {
      this.scroller.scrollTop += below - this.scroller.clientHeight;
    }
    if (focus) line.focus({ preventScroll: true });
  }

  render() {
    const { columns, values, page } = this.content;
    const first = this.page * page;
    const rows = this.shown.slice(first, first + page);
    const reached = rows.includes(this.selected) ? this.selected : rows[0];
    this.table.tBodies[0].replaceChildren(
      ...rows.map((row) => {
        const line = document.createElement("tr");
        line.dataset.row = row;
        line.tabIndex = row === reached ? 0 : -1;
        line.setAttribute("aria-selected", row === this.selected);
        for (const [name, kind] of columns) {
          const value = values[name][row];
          const cell = line.insertCell();
          cell.textContent = format(value, kind);
          if (typeof value === "string") cell.className = "text";
        }
        return line;
      }),
    );
    const { count } = this.content;
    const noun = count === 1 ? "target" : "targets";
    const part = `${first + 1}–${first + rows.length} of ${this.shown.length}`;
    const found = this.pages > 1 ? part : `${this.shown.length}`;
    const whole = this.shown.length === count ? "" : ` (${count} in all)`;
    this.status.textContent = `${found} ${noun}${whole}`;
    const [atStart, atEnd] = [this.page === 0, this.page === this.pages - 1];
    this.buttons.forEach((button, index) => {
      button.disabled = index < 2 ? atStart : atEnd;
      button.hidden = this.pages === 1;
    });
  }

  onClick(event) {
    const line = event.target.closest("tr");
    if (line) this.onSelect(Number(line.dataset.row));
  }

  onKey(event) {
    const line = event.target.closest("tr");
    const now = this.shown.indexOf(Number(line.dataset.row));
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Enter: 0, " ": 0 };
    const ends = { Home: 0, End: this.shown.length - 1 };
    const wanted = event.key in steps ? now + steps[event.key] : ends[event.key];
    if (wanted === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const row = this.shown[Math.min(Math.max(wanted, 0), this.shown.length - 1)];
    this.onSelect(row);
    this.select(row, true);
  }
}
