// Puts the page together: a frame is preprocess, forward, draw.

const byId = (id) => document.getElementById(id);
const networks = DATA.networks.map(decodeNetwork);
const examples = DATA.examples.map(({ label, pixels }) => ({ label, pixels: decodeBytes(pixels) }));
const ranges = networks.map(() => null); // of each network's maps, once it is shown
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

let ink = inkOf([]);
let maps = []; // elements: [column][channel]
let current = null; // what the last frame computed: {pixels, place, input, outputs, shares}
let pointed = null; // the pixel that is pointed at: {column, channel, y, x}
let requested = false;
let curveTimer = 0;
let slideTimer = 0;
let noticeTimer = 0;
let reading = null; // the image that is being read
const times = [];

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
  if (!current) closeInside();
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
function imageNow() {
  if (drawing.example === null) return toMnistFormat(ink);
  const { pixels } = examples[drawing.example];
  const place = { left: 0, top: 0, scale: PAPER / SIDE };
  return { pixels: drawing.strokes.length ? inkedExample(pixels, ink) : pixels, place };
}

function compute() {
  const image = imageNow();
  if (!image) return null;
  const { right, down, degrees } = drawing.choices;
  const pixels = moved(image.pixels, right, down, degrees);
  const input = inputOf(pixels);
  const outputs = forward(network(), input, drawing.off);
  const shares = logProbabilities(outputs).map(Math.exp);
  const whole = drawing.off.size ? probabilities(network(), pixels) : null;
  return { image, pixels, input, outputs, shares, whole, several: several(image) };
}

// Whether one digit is drawn is for the network to say that knows what is none: the first.
function several(image) {
  if (drawing.example !== null) return null;
  return severalIn(ink, image.pixels, (pixels) => probabilities(networks[0], pixels));
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
  byId("clear").disabled = isEmpty(drawing);
  [...byId("examples").children].forEach((button, number) => {
    button.setAttribute("aria-pressed", number === drawing.example);
  });
}

function paintAll() {
  const empty = !current;
  byId("prompt").hidden = !empty || pen.owner !== null;
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
  const { shares, whole, several } = current ?? {};
  paintBars(byId("bars"), shares, whole);
  const label = drawing.example === null ? null : examples[drawing.example].label;
  const [first, confidence, second] = shares ? verdict(shares, several) : ["", "", ""];
  byId("first").textContent = first;
  byId("confidence").textContent = confidence;
  byId("second").textContent = second;
  byId("remark").textContent = shares && !several ? remark(shares, whole, label) : "";
}

// --- When the pen rests: the curve over shifts, and the answer for a screen reader ---------------

function planCurve() {
  clearTimeout(curveTimer);
  if (!current) {
    byId("shifts-caption").textContent = "How a shift changes the answer";
    say("spoken", "");
    paintCurves(byId("shifts").querySelector("svg"), [], drawing.choices.right);
    return;
  }
  const { net, right, down, degrees } = drawing.choices;
  const { pixels } = current.image;
  const read = (number, shift) =>
    probabilities(networks[number], moved(pixels, shift, down, degrees));
  const curves = networks.map(({ name }) => ({ name, shares: [] }));
  const jobs = networks.flatMap((_, number) => SHIFTS.map((shift) => [number, shift]));
  let digit = drawing.example === null ? null : examples[drawing.example].label;
  const work = () => {
    // of a drawing, the digit that is read without a shift counts as right
    digit ??= ranked(read(net, 0).slice(0, NO_DIGIT))[0];
    const [number, shift] = jobs.shift();
    curves[number].shares.push([shift, read(number, shift)[digit]]);
    if (jobs.length) {
      curveTimer = setTimeout(work, 0);
    } else {
      byId("shifts-caption").textContent =
        `Probability of ${digit} in per cent, as the digit shifts sideways by pixels`;
      paintCurves(byId("shifts").querySelector("svg"), curves, right);
      say("spoken", `Read as ${byId("guess").innerText}`);
    }
  };
  curveTimer = setTimeout(work, 120);
}

// --- Controls ------------------------------------------------------------------------------------

function listenToControls() {
  byId("undo").addEventListener("click", () => change(undo));
  byId("clear").addEventListener("click", () => change(start));
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
  byId("theme").addEventListener("click", () => paintTheme(!isDark()));
  prefersDark.addEventListener("change", () => paintTheme(prefersDark.matches));
  addEventListener("hashchange", () => show(location.hash));
  addEventListener("keydown", (event) => {
    if (letterOf(event) !== "z" || event.altKey || event.shiftKey) return;
    if (!(event.ctrlKey || event.metaKey) || !drawing.past.length) return;
    event.preventDefault();
    change(undo);
  });
  for (const name of ["pagehide", "visibilitychange"]) addEventListener(name, keepDrawing);
}

// The Latin letter of a key: what it writes or, on a layout of other letters, what it would write
// on a Latin one.
function letterOf({ key = "", code = "" }) {
  return (/^[a-z]$/i.test(key) ? key : code.replace("Key", "")).toLowerCase();
}

// Images come by drop, paste or the file dialog.
function listenToImages() {
  const isFile = (event) => event.dataTransfer.types.includes("Files");
  const mark = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false); // out of the window
  });
  addEventListener("drop", (event) => {
    mark(false);
    if (!isFile(event)) return;
    event.preventDefault();
    drawImage(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => drawImage(event.clipboardData?.files[0]));
  byId("open").addEventListener("click", () => {
    const input = element("input", { type: "file", accept: "image/*" });
    input.addEventListener("change", () => drawImage(input.files[0]));
    input.click();
  });
}

// Draws the image of a file, unless another one comes meanwhile.
async function drawImage(file) {
  if (!file) return;
  reading = file;
  try {
    const picture = await readImage(file);
    if (reading === file) change(() => start({ picture }));
  } catch (error) {
    notify(error.message);
  }
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
  clearTimeout(noticeTimer);
  byId("notice").textContent = text;
  noticeTimer = setTimeout(() => { byId("notice").textContent = ""; }, 3000);
}

// Has a screen reader say what is new.
function say(name, text) {
  if (byId(name).textContent !== text) byId(name).textContent = text;
}

function paintChoices() {
  for (const name in LIMITS) {
    const value = drawing.choices[name];
    byId(name).value = value;
    const text = String(value).replace("-", "−") + (name === "degrees" ? "°" : "");
    document.querySelector(`output[for=${name}]`).textContent = text;
  }
}

function paintTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", isDark());
  examples.forEach(({ pixels }, number) => {
    paint(byId("examples").children[number].firstChild, pixels, inkPalette(theme()));
  });
  refresh();
}

function showNetwork() {
  closeInside();
  current = pointed = null; // until the next frame: they are the other network's
  buildBars(byId("bars"), network().layers.at(-1).channels);
  maps = buildColumns(network(), byId("network"));
  ranges[drawing.choices.net] ??= rangesOf(network(), examples.map(({ pixels }) => pixels));
  const count = network().parameters.toLocaleString("en");
  byId("parameters").textContent = byId("count").textContent = count;
  byId("nets").querySelectorAll("input")[drawing.choices.net].checked = true;
  paintSwitches();
  refresh();
}

// Shows what a link holds: an empty paper, or a drawing.
function show(hash) {
  change(() => readHash(hash));
  paintChoices();
  showNetwork();
}

// Keeps the drawing for a reload, with the address that it belongs to.
function keepDrawing() {
  try {
    sessionStorage.setItem("drawing", JSON.stringify([location.hash, hashOf(drawing)]));
  } catch {
    // storage is full or not allowed
  }
}

// What to show first: the drawing that was kept, or what the address says where it is a new one.
function firstHash() {
  try {
    const [{ type }] = performance.getEntriesByType("navigation");
    const [address, kept] = JSON.parse(sessionStorage.getItem("drawing"));
    if (address === location.hash && (type !== "navigate" || !address)) return kept;
  } catch {
    // nothing was kept
  }
  return location.hash;
}

function build() {
  networks.forEach(({ name, layers }, number) => {
    const input = element("input", { type: "radio", name: "net", value: number });
    const knowsMore = layers.at(-1).channels > NO_DIGIT;
    const title = knowsMore
      ? "trained on MNIST, generated digits and images of no digit"
      : "trained on MNIST only";
    byId("nets").append(element("label", { title }, input, element("span", {}, name)));
    byId("legend").append(element("li", {}, element("i", { class: `key${number}` }), name));
  });
  examples.forEach(({ pixels, label }, number) => {
    const guess = ranked(probabilities(networks[0], pixels))[0];
    const misread = guess !== label ? `, which is read as ${nameOf(guess)}` : "";
    const canvas = element("canvas", { width: SIDE, height: SIDE });
    const title = `Example: a ${label}${misread}`;
    const button = element("button", { type: "button", "aria-label": title, title }, canvas);
    button.classList.toggle("misread", Boolean(misread));
    button.addEventListener("click", () => change(() => start({ example: number })));
    byId("examples").append(button);
  });
  paintTheme(prefersDark.matches);
  paintPen();
}

build();
listenToPen();
listenToMaps();
listenToDialog();
listenToControls();
listenToImages();
show(firstHash());
