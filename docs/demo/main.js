// Puts the page together: a frame is preprocess, forward, draw.

const byId = (id) => document.getElementById(id);
const networks = DATA.networks.map(decodeNetwork);
const examples = DATA.examples.map(({ label, pixels }) => ({ label, pixels: decodeBytes(pixels) }));
const ranges = networks.map((network) => rangesOf(network, examples.map(({ pixels }) => pixels)));

let ink = inkOf([]);
let maps = []; // elements: [column][channel]
let current = null; // what the last frame computed: {pixels, place, input, outputs, shares}
let pointed = null; // the pixel that is pointed at: {column, channel, y, x}
let penDown = null; // the id of the pointer that draws
let requested = false;
let curveTimer = 0;
let slideTimer = 0;
const times = [];
const keyboardPen = { point: [126, 126], down: false };

const network = () => networks[drawing.choices.net];

// --- A frame -------------------------------------------------------------------------------------

function refresh() {
  if (requested) return;
  requested = true;
  requestAnimationFrame(frame);
}

function frame() {
  requested = false;
  const began = performance.now();
  paintDrawing();
  current = compute();
  paintAll();
  times.push(performance.now() - began);
  if (times.length > 30) times.shift();
  byId("time").textContent = `${median(times).toFixed(1)} ms`;
  planCurve();
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

// What the network is shown before it is moved: {pixels, place}, or null for an empty paper.
function formNow() {
  if (drawing.example === null) return mnistForm(ink);
  const { pixels } = examples[drawing.example];
  const place = { left: 0, top: 0, scale: PAPER / SIDE };
  return { pixels: drawing.strokes.length ? inkedExample(pixels, ink) : pixels, place };
}

function compute() {
  const form = formNow();
  if (!form) return null;
  const { right, down, degrees } = drawing.choices;
  const pixels = moved(form.pixels, right, down, degrees);
  const input = inputOf(pixels);
  const outputs = forward(network(), input, drawing.off);
  const shares = logProbabilities(outputs).map(Math.exp);
  const whole = drawing.off.size ? probabilities(network(), pixels) : null;
  return { form, pixels, input, outputs, shares, whole };
}

function paintDrawing() {
  const example = drawing.example === null ? null : examples[drawing.example].pixels;
  const step = PAPER / SIDE;
  const levels = new Uint8ClampedArray(PAPER * PAPER);
  for (let index = 0; index < levels.length; index++) levels[index] = 255 * ink[index];
  for (let y = 0; example && y < PAPER; y++) {
    for (let x = 0; x < PAPER; x++) {
      const pixel = example[Math.floor(y / step) * SIDE + Math.floor(x / step)];
      if (pixel > levels[y * PAPER + x]) levels[y * PAPER + x] = pixel;
    }
  }
  paint(byId("drawing"), levels, inkPalette(theme()));
  byId("undo").disabled = !drawing.past.length;
  byId("clear").disabled = drawing.example === null && !drawing.strokes.length;
  [...byId("examples").children].forEach((button, number) => {
    button.setAttribute("aria-pressed", number === drawing.example);
  });
}

function paintAll() {
  const empty = !current;
  byId("prompt").hidden = !empty || penDown !== null;
  byId("network").classList.toggle("blank", empty);
  paint(byId("seen"), current ? current.pixels : new Uint8Array(SIDE * SIDE), inkPalette(theme()));
  if (current) {
    paintMaps(network(), current.outputs, maps, ranges[drawing.choices.net], rampPalette(theme()));
  }
  paintAnswer();
  paintProbe();
  if (byId("inside").open) paintDialog();
}

function paintAnswer() {
  const { shares, whole } = current ?? {};
  paintBars(byId("bars"), shares, whole);
  const [first, second] = shares ? ranked(shares) : [];
  const label = drawing.example === null ? null : examples[drawing.example].label;
  byId("first").textContent = first ?? "";
  byId("confidence").textContent = shares ? percent(shares[first]) : "";
  byId("second").textContent = shares ? `then ${second}, ${percent(shares[second])}` : "";
  byId("remark").textContent = shares ? remark(shares, whole, label) : "";
}

// --- When the pen rests: the curve over shifts, and the answer for a screen reader ---------------

function planCurve() {
  clearTimeout(curveTimer);
  if (!current) {
    byId("shifts-caption").textContent = "How a shift changes the answer";
    byId("spoken").textContent = "";
    paintCurves(byId("shifts").querySelector("svg"), [], drawing.choices.right);
    return;
  }
  const { net, right, down, degrees } = drawing.choices;
  const { pixels } = current.form;
  const read = (number, shift) =>
    probabilities(networks[number], moved(pixels, shift, down, degrees));
  const curves = networks.map(({ name }) => ({ name, shares: [] }));
  const jobs = networks.flatMap((_, number) => SHIFTS.map((shift) => [number, shift]));
  let digit = drawing.example === null ? null : examples[drawing.example].label;
  const work = () => {
    digit ??= ranked(read(net, 0))[0]; // of a drawing, what is read without a shift counts as right
    const [number, shift] = jobs.shift();
    curves[number].shares.push([shift, read(number, shift)[digit]]);
    if (jobs.length) {
      curveTimer = setTimeout(work, 0);
    } else {
      byId("shifts-caption").textContent =
        `Probability of ${digit} in per cent, as the digit shifts sideways by pixels`;
      paintCurves(byId("shifts").querySelector("svg"), curves, right);
      byId("spoken").textContent = `Read as ${byId("guess").innerText}`;
    }
  };
  curveTimer = setTimeout(work, 120);
}

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
  const { left, top, scale } = current.form.place;
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
  if (!current) return;
  pointAt(place);
  const size = network().layers[network().columns[place.column].last].size;
  Object.assign(byId("inside-map"), { width: size, height: size });
  byId("inside").showModal();
  byId("inside-map").focus();
  paintDialog();
}

function paintDialog() {
  if (!current) return;
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

// --- Controls ------------------------------------------------------------------------------------

function pointOf(event) {
  const box = byId("drawing").getBoundingClientRect();
  const along = (value, begin, length) =>
    Math.max(0, Math.min(UNITS, Math.round(((value - begin) / length) * UNITS)));
  return [along(event.clientX, box.left, box.width), along(event.clientY, box.top, box.height)];
}

function begin(point) {
  beginStroke(point);
  inkSegment(ink, point, point);
  refresh();
}

function extend(point) {
  const before = drawing.strokes.at(-1).at(-1);
  if (extendStroke(point)) inkSegment(ink, before, point);
  refresh();
}

function redraw() {
  ink = inkOf(drawing.strokes);
  refresh();
}

function listenToPen() {
  const canvas = byId("drawing");
  canvas.addEventListener("pointerdown", (event) => {
    if (penDown !== null || event.button > 0) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true, focusVisible: false });
    canvas.setPointerCapture(event.pointerId);
    penDown = event.pointerId;
    keyboardPen.down = false;
    begin(pointOf(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== penDown) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) extend(pointOf(each));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      if (event.pointerId === penDown) penDown = null;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (step) {
      const [x, y] = keyboardPen.point.map((value, axis) =>
        Math.max(0, Math.min(UNITS, value + 6 * step[axis])),
      );
      keyboardPen.point = [x, y];
      if (keyboardPen.down) extend([x, y]);
    } else if (event.key === " ") {
      keyboardPen.down = !keyboardPen.down;
      if (keyboardPen.down) begin(keyboardPen.point);
    } else {
      return;
    }
    event.preventDefault();
    byId("cursor").setAttribute("cx", keyboardPen.point[0]);
    byId("cursor").setAttribute("cy", keyboardPen.point[1]);
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

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
    const { column, channel } = placeOf(event.target);
    const step = ARROWS[event.key];
    if (step) {
      const next = maps[Math.max(0, Math.min(maps.length - 1, column + step[0]))];
      focusMap(next[Math.max(0, Math.min(next.length - 1, channel + step[1]))]);
    } else if (event.key === "Enter") {
      lookInside(placeOf(event.target));
    } else if (event.key === " ") {
      switchChannel({ column, channel });
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
    if (!step) return;
    event.preventDefault();
    movePixel(...step);
  });
  byId("slide").addEventListener("click", (event) => {
    slide(event.target.getAttribute("aria-pressed") === "false");
  });
  byId("channel-on").addEventListener("change", () => switchChannel(pointed));
  byId("inside").addEventListener("close", () => {
    slide(false);
    focusMap(maps[pointed.column][pointed.channel]);
  });
  byId("inside").addEventListener("click", (event) => {
    if (event.target === byId("inside")) byId("inside").close(); // the backdrop
  });
}

function listenToControls() {
  byId("undo").addEventListener("click", () => { undo(); redraw(); });
  byId("clear").addEventListener("click", () => { start(); redraw(); });
  byId("share").addEventListener("click", share);
  byId("all-on").addEventListener("click", () => {
    drawing.off.clear();
    paintSwitches();
    refresh();
  });
  for (const name in LIMITS) {
    byId(name).addEventListener("input", () => {
      drawing.choices[name] = Number(byId(name).value);
      paintChoices();
      refresh();
    });
  }
  byId("nets").addEventListener("change", (event) => {
    drawing.choices.net = Number(event.target.value);
    drawing.off.clear();
    showNetwork();
  });
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    paintTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintTheme);
  addEventListener("hashchange", open);
  addEventListener("keydown", (event) => {
    if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || !drawing.past.length) return;
    undo();
    redraw();
  });
}

async function share() {
  history.replaceState(null, "", `#${hashOf(drawing)}`);
  try {
    await navigator.clipboard.writeText(location.href);
    notify("The link to this drawing is copied.");
  } catch {
    notify("The link to this drawing is in the address bar.");
  }
}

function notify(text) {
  byId("notice").textContent = text;
  setTimeout(() => { byId("notice").textContent = ""; }, 3000);
}

function paintChoices() {
  for (const name in LIMITS) {
    const value = drawing.choices[name];
    byId(name).value = value;
    const text = String(value).replace("-", "−") + (name === "degrees" ? "°" : "");
    document.querySelector(`output[for=${name}]`).textContent = text;
  }
}

function paintTheme() {
  byId("theme").setAttribute("aria-pressed", isDark());
  examples.forEach(({ pixels }, number) => {
    paint(byId("examples").children[number].firstChild, pixels, inkPalette(theme()));
  });
  refresh();
}

function showNetwork() {
  pointed = null;
  maps = buildColumns(network(), byId("network"));
  const count = network().parameters.toLocaleString("en");
  byId("parameters").textContent = byId("count").textContent = count;
  byId("nets").querySelectorAll("input")[drawing.choices.net].checked = true;
  paintSwitches();
  refresh();
}

// Shows what the address says: an empty paper, or a drawing that was shared.
function open() {
  readHash(location.hash);
  ink = inkOf(drawing.strokes);
  paintChoices();
  showNetwork();
}

function build() {
  buildBars(byId("bars"));
  networks.forEach(({ name }, number) => {
    const input = element("input", { type: "radio", name: "net", value: number });
    byId("nets").append(element("label", {}, input, element("span", {}, name)));
    byId("legend").append(element("li", {}, element("i", { class: `key${number}` }), name));
  });
  examples.forEach(({ pixels, label }, number) => {
    const guess = ranked(probabilities(networks[0], pixels))[0];
    const misread = guess !== label ? `, which ${networks[0].name} reads as ${guess}` : "";
    const canvas = element("canvas", { width: SIDE, height: SIDE });
    const title = `Example: a ${label}${misread}`;
    const button = element("button", { type: "button", "aria-label": title, title }, canvas);
    button.classList.toggle("misread", Boolean(misread));
    button.addEventListener("click", () => { start(number); redraw(); });
    byId("examples").append(button);
  });
  paintTheme();
  byId("cursor").setAttribute("cx", keyboardPen.point[0]);
  byId("cursor").setAttribute("cy", keyboardPen.point[1]);
}

build();
listenToPen();
listenToMaps();
listenToDialog();
listenToControls();
open();
