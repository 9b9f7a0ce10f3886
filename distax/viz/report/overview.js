"use strict";

// A frame with marks of its targets. The frame moves and zooms; a click selects a target.
class Overview {
  // `report` gives the targets' positions, the targets in the table, and the selected one.
  constructor(figure, report) {
    this.figure = figure;
    this.report = report;
    this.canvas = figure.querySelector("canvas");
    this.plot = new Plot(this.canvas);
    this.view = null;
    this.drawn = [];
    const actions = { in: () => this.zoom(2), out: () => this.zoom(1 / 2), fit: () => this.fit() };
    for (const button of figure.querySelectorAll("button")) {
      button.addEventListener("click", actions[button.dataset.do]);
    }
    this.canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => this.onPress(event));
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(() => this.view && this.draw()).observe(this.canvas);
  }

  show(view) {
    this.figure.hidden = !view.pictures.overview;
    if (this.view === view || this.figure.hidden) return;
    this.view = view;
    const [height, width] = view.extent;
    this.canvas.style.aspectRatio = Math.min(Math.max(width / height, 0.8), 2);
    this.figure.querySelector("strong").textContent = view.title || "Frame";
    this.figure.querySelector("figcaption span").textContent = view.caption;
    this.fit();
  }

  get leastScale() {
    const [height, width] = this.view.extent;
    return Math.min(this.plot.inner.width / width, this.plot.inner.height / height);
  }

  fit() {
    this.plot.fit(0, 0, ...this.view.extent);
    this.draw();
  }

  // Zooms, and keeps the point (x, y) of the canvas in place. Default: the middle.
  zoom(factor, x = this.plot.x(this.plot.centre.column), y = this.plot.y(this.plot.centre.row)) {
    const { plot } = this;
    const [column, row] = [plot.column(x), plot.row(y)];
    plot.scale = Math.min(Math.max(plot.scale * factor, this.leastScale), 100);
    plot.centre.column += column - plot.column(x);
    plot.centre.row += row - plot.row(y);
    this.keepInside();
    this.draw();
  }

  // Moves the view by a distance in pixels of the screen.
  move(right, down) {
    this.plot.centre.column += right / this.plot.scale;
    this.plot.centre.row += down / this.plot.scale;
    this.keepInside();
    this.draw();
  }

  // Moves the view back if it leaves the frame. A side that is seen whole is centred.
  keepInside() {
    const { centre, scale, inner } = this.plot;
    const [height, width] = this.view.extent;
    const clamp = (place, size, room) => {
      const half = room / scale / 2;
      if (2 * half >= size) return (size - 1) / 2;
      return Math.min(Math.max(place, half - 0.5), size - 0.5 - half);
    };
    centre.column = clamp(centre.column, width, inner.width);
    centre.row = clamp(centre.row, height, inner.height);
  }

  // Moves a target into the axes if it is not there.
  reveal(target) {
    const [row, column] = this.report.position(this.view, target);
    if (!this.plot.contains(this.plot.x(column), this.plot.y(row))) {
      this.plot.centre = { row, column };
      this.keepInside();
    }
    this.draw();
  }

  draw() {
    const { plot, view } = this;
    plot.draw((context) => {
      const picture = view.pictures.overview;
      const size = [picture.naturalWidth, picture.naturalHeight];
      const step = Math.max(1, Math.ceil(Math.max(...view.extent) / Math.max(...size)));
      plot.drawPicture(picture, [0, 0, ...size], 0, 0, size[1] * step, size[0] * step);
      this.drawTargets(context);
    });
  }

  // Marks the targets in view, or only the most trustworthy if marks of all would hide the frame.
  drawTargets(context) {
    const { plot, view, report } = this;
    const [left, top, scale] = [plot.x(0), plot.y(0), plot.scale];
    const [inner, rows, columns] = [plot.inner, ...report.places(view)];
    const near = [];
    for (const target of view.order) {
      const [x, y] = [left + scale * columns[target], top + scale * rows[target]];
      const inside = x >= inner.left && x <= inner.left + inner.width;
      if (!inside || y < inner.top || y > inner.top + inner.height) continue;
      if (report.isShown(view, target)) near.push({ target, x, y });
    }
    const area = inner.width * inner.height;
    const radius = Math.min(Math.max(Math.sqrt((0.06 * area) / Math.PI / near.length), 1.2), 9);
    this.drawn = near.slice(0, Math.floor((0.12 * area) / Math.PI / radius ** 2));
    for (const [colour, sure] of [[DOUBTED, false], [TRUSTED, true]]) {
      context.beginPath();
      for (const { target, x, y } of this.drawn) {
        if ((view.doubt[target] === 0) !== sure) continue;
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 2 * Math.PI);
      }
      context.strokeStyle = context.fillStyle = colour;
      context.lineWidth = 1.5;
      if (radius < 2.5) context.fill();
      else context.stroke();
    }
    this.drawEllipses(context);
    if (this.drawn.length <= 60) this.drawNumbers(context, radius);
    this.drawSelected(context, radius);
    const total = view.order.length;
    const all = near.length === total ? `${total}` : `${near.length} shown of ${total}`;
    const some = `the ${this.drawn.length} most trustworthy of ${all}; zoom in for the others`;
    const marked = near.length === this.drawn.length ? all : some;
    this.figure.querySelector("output").textContent = `Targets marked: ${marked}.`;
  }

  drawEllipses(context) {
    const { plot, view } = this;
    if (!view.ellipse) return;
    context.lineWidth = 1;
    for (const { target } of this.drawn) {
      if (view.ellipse[target][0] * plot.scale < 4) continue;
      context.strokeStyle = view.doubt[target] ? DOUBTED : TRUSTED;
      plot.drawEllipse(...this.report.position(view, target), view.ellipse[target]);
    }
  }

  // Writes the number of each blob beside one of its targets, inside the axes.
  drawNumbers(context, radius) {
    const { left, top, width } = this.plot.inner;
    const numbered = new Set();
    context.font = "bold 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const { target, x, y } of this.drawn) {
      const number = this.report.value(this.view, target, "blob");
      if (number === null || numbered.has(number)) continue;
      numbered.add(number);
      const room = context.measureText(number).width + radius + 6;
      const leftwards = x + room > left + width;
      context.textAlign = leftwards ? "right" : "left";
      const at = [x + (leftwards ? -radius - 3 : radius + 3), Math.max(y - radius, top + 8)];
      context.strokeStyle = "#000000";
      context.lineWidth = 3;
      context.strokeText(number, ...at);
      context.fillStyle = "#ffffff";
      context.fillText(number, ...at);
    }
  }

  drawSelected(context, radius) {
    const selected = this.report.selected;
    if (!selected || selected.view !== this.view || selected.target === null) return;
    const [row, column] = this.report.position(this.view, selected.target);
    const [x, y] = [this.plot.x(column), this.plot.y(row)];
    const reach = Math.max(radius, 5) + 4;
    for (const [colour, width] of [["#000000", 5], ["#ffffff", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, reach, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  // Returns the target nearest to a place of the canvas, if it is near enough to be meant.
  nearest(x, y) {
    let best = null;
    let least = 15;
    for (const place of this.drawn) {
      const distance = Math.hypot(place.x - x, place.y - y);
      if (distance < least) [best, least] = [place.target, distance];
    }
    return best;
  }

  onWheel(event) {
    const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015));
    // If the frame cannot be zoomed out further, the page scrolls.
    if (factor < 1 && this.plot.scale <= this.leastScale) return;
    event.preventDefault();
    this.zoom(factor, event.offsetX, event.offsetY);
  }

  // Drags the frame, or selects a target if the pointer stays where it was pressed.
  onPress(event) {
    if (event.button) return;
    const { canvas } = this;
    let [x, y, moved] = [event.offsetX, event.offsetY, 0];
    const drag = (next) => {
      const [right, down] = [x - next.offsetX, y - next.offsetY];
      moved += Math.abs(right) + Math.abs(down);
      if (moved < 4) return;
      [x, y] = [next.offsetX, next.offsetY];
      this.move(right, down);
    };
    const release = (next) => {
      canvas.removeEventListener("pointermove", drag);
      canvas.removeEventListener("pointerup", release);
      canvas.removeEventListener("pointercancel", release);
      const target = moved < 4 && next.type === "pointerup" ? this.nearest(x, y) : null;
      if (target !== null) this.report.select(this.view, target);
    };
    canvas.setPointerCapture(event.pointerId);
    canvas.addEventListener("pointermove", drag);
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => this.move(-60, 0),
      ArrowRight: () => this.move(60, 0),
      ArrowUp: () => this.move(0, -60),
      ArrowDown: () => this.move(0, 60),
      "+": () => this.zoom(1.5),
      "=": () => this.zoom(1.5),
      "-": () => this.zoom(1 / 1.5),
      0: () => this.fit(),
      n: () => this.step(1),
      p: () => this.step(-1),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  // Selects the next target in the order of trust.
  step(by) {
    const { order } = this.view;
    const now = order.indexOf(this.report.selected?.target ?? -1);
    const next = order[(now + by + order.length) % order.length];
    if (next !== undefined) this.report.select(this.view, next);
  }
}
