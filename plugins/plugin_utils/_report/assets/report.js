// Copyright (c) 2026 opsrunner contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);
  const state = { status: "", host: "", text: "" };
  const PAGE = 200;

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const drawn = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  // One character per earlier run, "0" at the bottom of the scale to "o" (63 steps up) at its top.
  const spark = (code) => {
    const svg = drawn("svg", { class: "spark", viewBox: "0 0 100 63", preserveAspectRatio: "none", "aria-hidden": "true" });
    const step = 100 / Math.max(1, code.length - 1);
    const path = [...code].map((sign, at) => `${(at * step).toFixed(1)} ${63 - (sign.charCodeAt(0) - 48)}`).join("L");
    svg.append(drawn("path", { d: `M${path}` }));
    svg.append(drawn("path", { class: "at", d: `M${path.slice(path.lastIndexOf("L") + 1)}h0` }));
    return svg;
  };

  // -- what is fine: kept in columns, shown when it is opened --
  const rows = data.host.map((host, at) => ({
    at, kind: data.kind[at], host: data.hosts[host], check: data.checks[data.check[at]], text: data.text[at],
    value: data.value[at], limit: data.limits[data.limit[at]], spark: data.spark[at] || "", seen: data.seen ? data.seen[at] : [],
  }));
  for (const row of rows) row.search = `${row.host} ${row.check} ${row.text}`.toLowerCase();
  const kinds = all(".k").map((box) => ({ box, rows: rows.filter((row) => row.kind === Number(box.dataset.kind)), shown: 0 }));

  const fineRow = (row) => {
    const more = row.seen.length || row.limit;
    const box = element(more ? "details" : "div", more ? "r ok" : "r ok flat");
    const head = more ? box.appendChild(element("summary")) : box;
    head.append(element("span", "", row.host === "-" ? data.words.system : row.host));
    const what = element("span");
    what.append(element("span", "", row.text), " ", element("span", "id soft", row.check));
    head.append(what, row.spark ? spark(row.spark) : element("span"), element("span", "", row.value));
    if (more) {
      const list = element("dl");
      if (row.limit) list.append(element("dt", "", data.words.limits), element("dd", "", row.limit));
      for (const [label, lines] of row.seen) {
        const items = element("ul");
        for (const line of lines) items.append(element("li", "", line));
        const cell = element("dd");
        cell.append(items);
        list.append(element("dt", "", label), cell);
      }
      const body = element("div", "body");
      body.append(list);
      box.append(body);
    }
    return box;
  };
  const fill = (kind, restart) => {
    const place = one("div", kind.box);
    if (restart) { kind.shown = 0; place.replaceChildren(); }
    const next = kind.matching.slice(kind.shown, kind.shown + PAGE);
    kind.shown += next.length;
    all(".more", place).forEach((button) => button.remove());
    place.append(...next.map(fineRow));
    const left = kind.matching.length - kind.shown;
    if (left > 0) {
      const button = element("button", "plain more", `${data.words.more} (${left})`);
      button.type = "button";
      button.addEventListener("click", () => { const last = place.children[place.children.length - 2]; fill(kind, false); (last?.nextElementSibling?.firstElementChild || place).focus?.(); });
      place.append(button);
    }
  };

  // -- filter --
  const words = () => state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (status, host, search, wanted) =>
    (!state.status || state.status === status) && (!state.host || state.host === host) && wanted.every((word) => search.includes(word));
  const bad = all(".f").map((box) => ({
    box, status: box.dataset.s,
    parts: (all("[data-h]", box).length ? all("[data-h]", box) : [box]).map((part) => ({
      part, host: part.dataset.h, search: `${box.dataset.c || ""} ${part === box ? "" : one("summary", box).textContent} ${part.textContent}`.toLowerCase(),
    })),
  }));
  const apply = () => {
    const wanted = words();
    let shown = 0;
    for (const { box, status, parts } of bad) {
      let any = 0;
      for (const { part, host, search } of parts) {
        const fit = fits(status, host, search, wanted);
        if (part !== box) part.hidden = !fit;
        any += fit;
      }
      box.hidden = !any;
      shown += any;
    }
    one("#findings").hidden = state.status === "ok";
    const nothing = one("#nothing");
    if (nothing) nothing.hidden = shown > 0 || !bad.length;
    for (const kind of kinds) {
      kind.matching = kind.rows.filter((row) => fits("ok", row.host, row.search, wanted));
      kind.box.hidden = !kind.matching.length;
      one("[data-count]", kind.box).textContent = wanted.length || state.host ? `${kind.matching.length}` : one("[data-count]", kind.box).dataset.count;
      shown += kind.matching.length;
      if (kind.box.open) fill(kind, true); else { kind.shown = 0; one("div", kind.box).replaceChildren(); }
    }
    const fine = one("#fine");
    if (fine) fine.hidden = !kinds.some((kind) => kind.matching.length);
    for (const tile of all(".tile")) tile.setAttribute("aria-pressed", String(tile.dataset.s === state.status));
    for (const host of all(".host")) host.setAttribute("aria-pressed", String(host.dataset.host === state.host));
    one("#host").value = state.host;
    const filtered = state.status || state.host || wanted.length;
    one("#clear").hidden = !filtered;
    one("#shown").textContent = filtered ? data.words.shown.replace("{shown}", shown.toLocaleString()).replace("{total}", data.total.toLocaleString()) : "";
  };

  for (const kind of kinds) kind.box.addEventListener("toggle", () => { if (kind.box.open && !kind.shown) fill(kind, true); });
  for (const tile of all(".tile")) tile.addEventListener("click", () => { state.status = state.status === tile.dataset.s ? "" : tile.dataset.s; apply(); });
  for (const host of all(".host")) host.addEventListener("click", () => { state.host = state.host === host.dataset.host ? "" : host.dataset.host; apply(); });
  let waiting = 0;
  one("#text").addEventListener("input", (event) => { clearTimeout(waiting); waiting = setTimeout(() => { state.text = event.target.value; apply(); }, 120); });
  const choice = one("#host");
  for (const [name, label] of data.choices) { const option = element("option", "", label); option.value = name; choice.append(option); }
  choice.addEventListener("change", () => { state.host = choice.value; apply(); });
  const clear = () => { Object.assign(state, { status: "", host: "", text: "" }); one("#text").value = ""; apply(); };
  one("#clear").addEventListener("click", () => { clear(); one("#text").focus(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.id === "text") clear();
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) { event.preventDefault(); one("#text").focus(); }
  });
  const opener = one("#open");
  opener.addEventListener("click", () => {
    const opening = all(".f:not([hidden])").some((box) => !box.open);
    for (const box of all(".f:not([hidden])")) box.open = opening;
    opener.textContent = opening ? data.words.close : data.words.open;
  });
  opener.hidden = !bad.length;
  addEventListener("beforeprint", () => { for (const box of all(".f:not([hidden])")) box.open = true; });
  document.documentElement.classList.add("js");
  apply();
})();
