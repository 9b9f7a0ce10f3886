"use strict";

const TRUSTED = "#ff9f1c";
const DOUBTED = "#4cc9f0";

// Returns round numbers between two limits, about `most` of them, with their labels.
function ticks(low, high, most) {
  const rough = Math.max(high - low, 1e-9) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, index) => {
    const value = (first + index) * step;
    return { value, label: value.toFixed(places) };
  });
}

// A part of a frame on a canvas, with axes in pixels of the frame: columns to the right, rows
// downwards. `scale` is the number of screen pixels per pixel of the frame.
class Plot {
  constructor(canvas, bar = null) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.bar = bar;
    this.margin = { left: 60, right: bar ? 58 : 10, top: 8, bottom: 42 };
    this.centre = { row: 0, column: 0 };
    this.scale = 1;
  }

  get inner() {
    const { left, right, top, bottom } = this.margin;
    const width = Math.max(this.canvas.clientWidth - left - right, 1);
    const height = Math.max(this.canvas.clientHeight - top - bottom, 1);
    if (!this.tight) return { left, top, width, height };
    const scale = Math.min(width / this.tight.width, height / this.tight.height);
    return { left, top, width: scale * this.tight.width, height: scale * this.tight.height };
  }

  x(column) {
    return this.inner.left + this.inner.width / 2 + (column - this.centre.column) * this.scale;
  }

  y(row) {
    return this.inner.top + this.inner.height / 2 + (row - this.centre.row) * this.scale;
  }

  column(x) {
    return this.centre.column + (x - this.inner.left - this.inner.width / 2) / this.scale;
  }

  row(y) {
    return this.centre.row + (y - this.inner.top - this.inner.height / 2) / this.scale;
  }

  contains(x, y) {
    const { left, top, width, height } = this.inner;
    return x >= left && x <= left + width && y >= top && y <= top + height;
  }

  // Shows an area as a whole. The centre of its first pixel is (row, column). With a colour bar,
  // the axes get the shape of the area.
  fit(row, column, height, width) {
    if (this.bar) this.tight = { height, width };
    this.centre = { row: row + (height - 1) / 2, column: column + (width - 1) / 2 };
    this.scale = Math.min(this.inner.width / width, this.inner.height / height);
  }

  // Draws the plot: what `content` draws inside the axes, then the axes and the colour bar.
  draw(content) {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.canvas);
    this.colour = (name) => style.getPropertyValue(`--${name}`);
    this.context.fillStyle = this.colour("paper");
    this.context.fillRect(0, 0, width, height);
    this.context.save();
    this.context.beginPath();
    this.context.rect(...this.box());
    this.context.clip();
    this.context.fillStyle = this.colour("hatch");
    this.context.fillRect(...this.box());
    content(this.context);
    this.context.restore();
    this.drawAxes();
    if (this.bar) this.drawBar();
  }

  box() {
    const { left, top, width, height } = this.inner;
    return [left, top, width, height];
  }

  // Draws a picture, or a tile of it, over an area of the frame.
  drawPicture(picture, tile, row, column, height, width) {
    this.context.imageSmoothingEnabled = this.scale < 1;
    const size = [width * this.scale, height * this.scale];
    this.context.drawImage(picture, ...tile, this.x(column - 0.5), this.y(row - 0.5), ...size);
  }

  drawEllipse(row, column, [major, minor, angle]) {
    const size = [major * this.scale, minor * this.scale];
    this.context.beginPath();
    this.context.ellipse(this.x(column), this.y(row), ...size, angle, 0, 2 * Math.PI);
    this.context.stroke();
  }

  drawAxes() {
    const { context, inner } = this;
    const bottom = inner.top + inner.height;
    context.strokeStyle = context.fillStyle = this.colour("ink");
    context.lineWidth = 1;
    context.strokeRect(...this.box());
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "top";
    const [left, right] = [this.column(inner.left), this.column(inner.left + inner.width)];
    for (const { value, label } of ticks(left, right, Math.max(2, inner.width / 50))) {
      context.fillRect(this.x(value) - 0.5, bottom, 1, 4);
      // The outermost labels stay within the canvas.
      const half = context.measureText(label).width / 2;
      const limit = this.canvas.clientWidth - half - 1;
      context.fillText(label, Math.min(this.x(value), limit), bottom + 6);
    }
    context.fillText("column / px", inner.left + inner.width / 2, bottom + 24);
    context.textAlign = "right";
    context.textBaseline = "middle";
    const [top, low] = [this.row(inner.top), this.row(bottom)];
    for (const { value, label } of ticks(top, low, Math.max(2, inner.height / 32))) {
      context.fillRect(inner.left - 4, this.y(value) - 0.5, 4, 1);
      context.fillText(label, inner.left - 6, Math.max(this.y(value), 7));
    }
    context.save();
    context.translate(9, inner.top + inner.height / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText("row / px", 0, 0);
    context.restore();
  }

  drawBar() {
    const { context, inner } = this;
    const { low, high, colours } = this.bar;
    const left = inner.left + inner.width + 8;
    const bottom = inner.top + inner.height;
    const gradient = context.createLinearGradient(0, bottom, 0, inner.top);
    colours.forEach((colour, index) => gradient.addColorStop(index / (colours.length - 1), colour));
    context.fillStyle = gradient;
    context.fillRect(left, inner.top, 10, inner.height);
    context.strokeRect(left, inner.top, 10, inner.height);
    context.fillStyle = this.colour("ink");
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const { value, label } of ticks(low, high, 6)) {
      const y = bottom - ((value - low) / Math.max(high - low, 1e-9)) * inner.height;
      context.fillRect(left + 10, y - 0.5, 3, 1);
      context.fillText(label, left + 15, Math.min(Math.max(y, 7), bottom - 6));
    }
  }
}
