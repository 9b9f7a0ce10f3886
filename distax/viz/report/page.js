"use strict";

// The part of the page for one file. Overview, close-ups and table show the same target.
class Report {
  constructor(section) {
    this.content = JSON.parse(section.querySelector("script").textContent);
    this.selected = null;
    this.owner = new Map();
    for (const view of this.content.views) {
      view.rows.forEach((row, target) => this.owner.set(row, { view, target }));
    }
    const scroller = section.querySelector(".wide");
    if (scroller) {
      this.table = new TargetTable(scroller, this.content, (row) => this.selectRow(row));
      this.table.onFilter = () => this.overview?.view && this.overview.draw();
    }
    const look = section.querySelector(".look");
    if (look) this.look(look);
  }

  // Fills the figures once all pictures are decoded.
  async look(look) {
    const images = [...look.querySelectorAll("img")];
    await Promise.all(images.map((image) => image.decode()));
    for (const view of this.content.views) view.pictures = {};
    for (const image of images) {
      this.content.views[image.dataset.view].pictures[image.dataset.name] = image;
    }
    look.classList.add("drawn");
    this.overview = new Overview(look.querySelector(".overview"), this);
    this.closeups = new CloseUps(look.querySelector(".closeups"), this, this.content);
    if (this.selected) return this.select(this.selected.view, this.selected.target);
    const [first] = this.content.views;
    this.visit(first, first.names.length ? 0 : -1);
  }

  value(view, target, name) {
    return this.content.values[name]?.[view.rows[target]] ?? null;
  }

  // Returns the rows and the columns of a view's targets in pixels.
  places(view) {
    const { row, column } = this.content.values;
    view.places ??= [row, column].map((axis) => view.rows.map((number) => axis[number]));
    return view.places;
  }

  position(view, target) {
    const [rows, columns] = this.places(view);
    return [rows[target], columns[target]];
  }

  isShown(view, target) {
    return this.table.shownSet.has(view.rows[target]);
  }

  // Shows a close-up and selects its first target, if it has one. Number -1: a view without blobs.
  visit(view, number) {
    const target = number < 0 ? -1 : view.closeup.indexOf(number);
    if (target >= 0) return this.select(view, target);
    this.selected = { view, target: null };
    this.table?.select(null);
    this.overview.show(view);
    this.closeups.show(view, number);
  }

  selectRow(row) {
    const { view, target } = this.owner.get(row) ?? {};
    if (view) return this.select(view, target);
    this.selected = null;
    this.table.select(row);
    this.closeups?.showNothing();
  }

  select(view, target) {
    this.selected = { view, target };
    this.table.select(view.rows[target]);
    if (!this.overview) return;
    this.overview.show(view);
    if (view.pictures.overview) this.overview.reveal(target);
    this.closeups.show(view, view.closeup[target]);
  }
}

const reports = [...document.querySelectorAll("section")].map((section) => new Report(section));
window
  .matchMedia("(prefers-color-scheme: dark)")
  .addEventListener("change", () => {
    for (const { overview, closeups } of reports) {
      if (overview?.view) overview.draw();
      if (closeups?.view) closeups.draw();
    }
  });
