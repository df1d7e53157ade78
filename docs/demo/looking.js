// The pixel that is pointed at: what it sees and what it is made of; and the dialog with its sum.

// --- Pointing at a map ---------------------------------------------------------------------------

function pointAt(place) {
  pointed = place;
  paintProbe();
}

function paintProbe() {
  for (const map of document.querySelectorAll(".probed, .source")) {
    map.classList.remove("probed", "source");
  }
  byId("wires").replaceChildren();
  byId("kernels").replaceChildren();
  byId("field").setAttribute("points", "");
  byId("seen-field").setAttribute("points", "");
  if (!current || !pointed) {
    byId("probe-text").innerHTML = current
      ? `<b>Point at a map</b> to see which part of your digit a pixel depends on (RF: receptive
        field) and the kernels that made it. <b>Click it</b> to see the sum.`
      : `<b>Draw a digit,</b> or take an example below the paper. Each column is a layer, each
        square one of its feature maps. RF: receptive field, the side of what a pixel sees.`;
    return;
  }
  const pixel = probe(network(), current.outputs, current.input, pointed, drawing.off);
  paintField(pixel);
  paintSources(pixel);
  paintKernels(pixel);
  byId("probe-text").innerHTML =
    `<b>Layer ${pointed.column + 1}, map ${pointed.channel + 1}</b>: ${pixel.title}.<br>` +
    `Pixel in row ${pointed.y + 1}, column ${pointed.x + 1}: <b>${signed(pixel.value)}</b>; ` +
    `sees ${pixel.sees.side}×${pixel.sees.side} pixels.` +
    (pixel.parts[0].weights ? "<br>Kernels: red negative, white zero, blue positive." : "");
}

function paintField({ sees }) {
  const corners = cornersOf(sees);
  const { left, top, scale } = current.image.place;
  const drawn = corners.map((corner) => {
    const [x, y] = unmoved(corner, drawing.choices);
    return [left + x * scale, top + y * scale].map((value) => (value * UNITS) / PAPER);
  });
  byId("seen-field").setAttribute("points", pointsOf(corners));
  byId("field").setAttribute("points", pointsOf(drawn));
}

function markMap(map, name, x, y, side, size) {
  map.classList.add(name);
  map.style.setProperty("--x", x / size);
  map.style.setProperty("--y", y / size);
  map.style.setProperty("--w", side / size);
}

// Marks the pixel, and its windows in the maps before, with a wire to each.
function paintSources({ parts, kernel, source, size }) {
  const map = maps[pointed.column][pointed.channel];
  markMap(map, "probed", pointed.x, pointed.y, 1, size);
  if (!pointed.column) return;
  const box = byId("layers").getBoundingClientRect(), end = map.getBoundingClientRect();
  const largest = Math.max(...parts.map(({ sum }) => Math.abs(sum ?? 1)), 1e-12);
  for (const { from, sum } of parts) {
    const other = maps[pointed.column - 1][from];
    markMap(other, "source", source.x, source.y, kernel, source.size);
    const begin = other.getBoundingClientRect();
    const [x1, y1] = [begin.right - box.left, (begin.top + begin.bottom) / 2 - box.top];
    const [x2, y2] = [end.left - box.left, (end.top + end.bottom) / 2 - box.top];
    const middle = (x1 + x2) / 2;
    const wire = document.createElementNS("http://www.w3.org/2000/svg", "path");
    wire.setAttribute("d", `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`);
    wire.style.stroke = css((sum ?? 1) < 0 ? RED : BLUE);
    wire.style.strokeWidth = 0.5 + (3 * Math.abs(sum ?? 1)) / largest;
    byId("wires").append(wire);
  }
}

function paintKernels({ parts, kernel }) {
  const largest = largestWeight(parts);
  for (const { from, weights } of parts) {
    if (!weights) continue;
    const cells = Array.from(weights, (weight) => {
      const cell = element("i");
      cell.style.background = signColour(weight / largest);
      return cell;
    });
    const title = `kernel for map ${from + 1}`;
    const square = element("div", { class: "kernel", role: "img", title }, ...cells);
    square.style.setProperty("--side", kernel);
    byId("kernels").append(square);
  }
}

// --- Looking inside a map ------------------------------------------------------------------------

function lookInside(place) {
  if (!current || byId("inside").open) return;
  lift();
  pointAt(place);
  const size = network().layers[network().columns[place.column].last].size;
  Object.assign(byId("inside-map"), { width: size, height: size });
  byId("inside").showModal();
  byId("inside-map").focus();
  paintDialog();
}

// Every way out of the dialog; its "close" event comes later.
function closeInside() {
  slide(false);
  byId("inside").close();
}

function paintDialog() {
  const { column, channel } = pointed;
  const { last } = network().columns[column];
  const range = ranges[drawing.choices.net][column][channel];
  const levels = mapLevels(current.outputs[last], channel, range);
  paint(byId("inside-map"), levels, rampPalette(theme()));
  paint(byId("inside-sees").querySelector("canvas"), current.pixels, inkPalette(theme()));
  byId("channel-on").checked = !drawing.off.has(`${last}:${channel}`);
  byId("channel-on").disabled = column === network().columns.length - 1;
  const pixel = probe(network(), current.outputs, current.input, pointed, drawing.off);
  paintInside(byId("inside"), network(), pixel, pointed, column === 0);
}

function movePixel(dx, dy) {
  const { size } = network().layers[network().columns[pointed.column].last];
  const within = (value) => Math.max(0, Math.min(size - 1, value));
  pointed = { ...pointed, x: within(pointed.x + dx), y: within(pointed.y + dy) };
  paintProbe();
  paintDialog();
}

function slide(on) {
  clearInterval(slideTimer);
  byId("slide").setAttribute("aria-pressed", on);
  byId("slide").textContent = on ? "Stop" : "Slide";
  if (!on) return;
  slideTimer = setInterval(() => {
    if (!byId("inside").open) return; // its "close" event is about to come
    const { size } = network().layers[network().columns[pointed.column].last];
    const next = (pointed.y * size + pointed.x + 1) % (size * size);
    pointed = { ...pointed, x: next % size, y: Math.floor(next / size) };
    paintProbe();
    paintDialog();
  }, 150);
}

function switchChannel({ column, channel }) {
  const key = `${network().columns[column].last}:${channel}`;
  if (!switchesOf(network()).includes(key)) return;
  drawing.off.delete(key) || drawing.off.add(key);
  paintSwitches();
  refresh();
}

function paintSwitches() {
  network().columns.forEach(({ last }, column) => {
    maps[column].forEach((map, channel) => {
      const off = drawing.off.has(`${last}:${channel}`);
      map.classList.toggle("off", off);
      map.setAttribute("aria-selected", !off);
    });
  });
  byId("all-on").disabled = !drawing.off.size;
}

// --- Events -------------------------------------------------------------------------------------

function placeOf(map, event) {
  const column = Number(map.dataset.column), channel = Number(map.dataset.channel);
  const { size } = network().layers[network().columns[column].last];
  if (!event) return { column, channel, x: size >> 1, y: size >> 1 };
  const box = map.getBoundingClientRect();
  const along = (share) => Math.max(0, Math.min(size - 1, Math.floor(share * size)));
  return {
    column,
    channel,
    x: along((event.clientX - box.left) / box.width),
    y: along((event.clientY - box.top) / box.height),
  };
}

function listenToMaps() {
  const grid = byId("network");
  const mapOf = (event) => event.target.closest(".map");
  const clicked = (place) => {
    const choice = document.querySelector("[name=click]:checked").value;
    if (choice === "switch") switchChannel(place);
    else lookInside(place);
  };
  grid.addEventListener("pointermove", (event) => {
    if (mapOf(event)) pointAt(placeOf(mapOf(event), event));
  });
  grid.addEventListener("pointerleave", () => {
    if (!byId("inside").open) pointAt(null);
  });
  grid.addEventListener("click", (event) => {
    if (mapOf(event)) clicked(placeOf(mapOf(event), event));
  });
  grid.addEventListener("focusin", (event) => {
    if (event.target.matches(":focus-visible")) pointAt(placeOf(event.target));
  });
  grid.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { column, channel } = placeOf(event.target);
    const step = ARROWS[event.key];
    if (step) {
      const next = maps[Math.max(0, Math.min(maps.length - 1, column + step[0]))];
      focusMap(next[Math.max(0, Math.min(next.length - 1, channel + step[1]))]);
    } else if (event.key === "Enter") {
      lookInside(placeOf(event.target));
    } else if (event.key === " ") {
      if (!event.repeat) switchChannel({ column, channel });
    } else {
      return;
    }
    event.preventDefault();
  });
}

// One map at a time is reached by Tab; the arrow keys go on from there.
function focusMap(map) {
  for (const other of maps.flat()) other.tabIndex = other === map ? 0 : -1;
  map.focus();
}

function listenToDialog() {
  const canvas = byId("inside-map");
  const toPixel = (event) => {
    const { size } = network().layers[network().columns[pointed.column].last];
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * size);
    const y = Math.floor(((event.clientY - box.top) / box.height) * size);
    movePixel(x - pointed.x, y - pointed.y);
  };
  canvas.addEventListener("pointermove", (event) => {
    if (byId("slide").getAttribute("aria-pressed") === "false") toPixel(event);
  });
  canvas.addEventListener("pointerdown", toPixel);
  canvas.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    movePixel(...step);
  });
  byId("slide").addEventListener("click", (event) => {
    slide(event.target.getAttribute("aria-pressed") === "false");
  });
  byId("channel-on").addEventListener("change", () => switchChannel(pointed));
  byId("inside").addEventListener("close", () => {
    slide(false);
    if (pointed) focusMap(maps[pointed.column][pointed.channel]);
  });
  byId("inside").addEventListener("click", (event) => {
    if (event.target === byId("inside")) closeInside(); // the backdrop
  });
}
