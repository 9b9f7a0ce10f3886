"use strict";

// Data, targets, model and residual of one blob or image.
const PANELS = ["data", "targets", "model", "residual"];

class CloseUps {
  constructor(figure, report, content) {
    this.figure = figure;
    this.report = report;
    this.view = null;
    this.number = 0;
    // Every close-up of every view, in the order of the buttons.
    this.all = content.views.flatMap((view) => view.names.map((_, number) => ({ view, number })));
    const limit = content.deviation;
    const greys = () => ({ low: 0, high: 1, colours: content.greys });
    const hues = { low: -limit, high: limit, colours: content.hues };
    const bars = [greys(), greys(), greys(), hues];
    const canvases = figure.querySelectorAll("canvas");
    this.plots = bars.map((bar, index) => new Plot(canvases[index], bar));
    const [previous, next] = figure.querySelectorAll("button");
    previous.addEventListener("click", () => this.step(-1));
    next.addEventListener("click", () => this.step(1));
    previous.hidden = next.hidden = this.all.length < 2;
    new ResizeObserver(() => this.view && this.draw()).observe(canvases[0]);
  }

  show(view, number) {
    this.figure.hidden = false;
    [this.view, this.number] = [view, number];
    const index = this.index();
    const [previous, next] = this.figure.querySelectorAll("button");
    previous.disabled = index <= 0;
    next.disabled = index === this.all.length - 1;
    const none = view.names.length ? "Only more interesting blobs have close-ups" : "No blob";
    this.figure.querySelector("strong").textContent = view.names[number] ?? none;
    this.draw();
  }

  showNothing() {
    this.figure.querySelector("strong").textContent = "The report has no picture of this image";
    this.draw();
  }

  index() {
    return this.all.findIndex(({ view, number }) => view === this.view && number === this.number);
  }

  // Shows the next close-up, and selects its first target.
  step(by) {
    const next = this.all[this.index() + by];
    if (next) this.report.visit(next.view, next.number);
  }

  draw() {
    const { view, number } = this;
    const [height, width] = view.side;
    PANELS.forEach((name, index) => {
      const plot = this.plots[index];
      if (number < 0) {
        plot.fit(0, 0, height, width);
        plot.draw(() => {});
        return;
      }
      const [row, column] = view.corner[number];
      if (name !== "residual") [plot.bar.low, plot.bar.high] = view.limits[number];
      plot.fit(row, column, height, width);
      if (name === "targets") this.fitTargets(plot);
      plot.draw((context) => {
        const across = [number % view.across, Math.floor(number / view.across)];
        const tile = [across[0] * width, across[1] * height, width, height];
        const picture = view.pictures[name === "targets" ? "data" : name];
        plot.drawPicture(picture, tile, row, column, height, width);
        if (name === "targets") this.drawTargets(context, plot);
      });
    });
  }

  // Shows the surroundings of the close-up's own targets, if it has any.
  fitTargets(plot) {
    const { view, number, report } = this;
    const own = view.order.filter((target) => view.closeup[target] === number);
    if (!own.length) return;
    const places = own.map((target) => report.position(view, target));
    const [rows, columns] = [0, 1].map((axis) => places.map((place) => place[axis]));
    const spread = (values) => Math.max(...values) - Math.min(...values);
    const middle = (values) => (Math.max(...values) + Math.min(...values)) / 2;
    const size = Math.max(1, spread(rows), spread(columns)) + 1.5;
    const first = (values) => middle(values) - (size - 1) / 2;
    plot.fit(first(rows), first(columns), size, size);
  }

  drawTargets(context, plot) {
    const { view, report } = this;
    for (const target of view.order) {
      const [row, column] = report.position(view, target);
      const [x, y] = [plot.x(column), plot.y(row)];
      if (!plot.contains(x, y)) continue;
      const chosen = report.selected?.view === view && report.selected.target === target;
      const colour = view.doubt[target] ? DOUBTED : TRUSTED;
      for (const [style, width] of [["#000000", chosen ? 6 : 3.5], [colour, chosen ? 3 : 1.5]]) {
        context.strokeStyle = style;
        context.lineWidth = width;
        context.beginPath();
        context.moveTo(x - 5, y);
        context.lineTo(x + 5, y);
        context.moveTo(x, y - 5);
        context.lineTo(x, y + 5);
        context.stroke();
      }
      if (view.ellipse) plot.drawEllipse(row, column, view.ellipse[target]);
    }
  }
}
