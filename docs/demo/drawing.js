// What the visitor has made: an example or a picture, strokes on it, and how the digit is moved.
// Undo, and the link that holds it.

const CHOICES = { net: 0, right: 0, down: 0, degrees: 0 };
const LIMITS = { right: 4, down: 4, degrees: 45 };
const POINTS = 0xffff; // that a stroke of a link can have

const drawing = {
  example: null, // a number, or null
  picture: null, // UNITS x UNITS bytes, 1 where an image has ink, or null
  strokes: [], // of points [x, y], whole units
  past: [], // what Undo goes back to
  choices: { ...CHOICES },
  off: new Set(), // "layer:channel"
};

function remember() {
  const { example, picture, strokes } = drawing;
  drawing.past.push({ example, picture, strokes });
}

function undo() {
  Object.assign(drawing, drawing.past.pop());
}

// Begins anew: with nothing, with an example, or with a picture.
function start({ example = null, picture = null } = {}) {
  remember();
  Object.assign(drawing, { example, picture, strokes: [] });
}

function isEmpty({ example, picture, strokes }) {
  return example === null && !picture && !strokes.length;
}

function beginStroke(point) {
  remember();
  drawing.strokes = [...drawing.strokes, [point]];
}

// Adds a point to the last stroke; returns whether it is a new one.
function extendStroke(point) {
  const stroke = drawing.strokes.at(-1), [x, y] = stroke.at(-1);
  if (x === point[0] && y === point[1]) return false;
  const longer = stroke.length < POINTS ? [[...stroke, point]] : [stroke, [stroke.at(-1), point]];
  drawing.strokes = [...drawing.strokes.slice(0, -1), ...longer];
  return true;
}

// The share link's hash. Strokes are bytes: the number of points in two, then x and y of each. A
// picture is the lengths of its runs, without and with ink in turn, seven bits a byte.
function hashOf({ example, picture, strokes, choices, off }) {
  const bytes = strokes.flatMap((stroke) => {
    const count = stroke.length;
    return [count >> 8, count & 255, ...stroke.flat()];
  });
  const fields = new URLSearchParams();
  if (bytes.length) fields.set("strokes", base64Url(bytes));
  if (picture) fields.set("picture", base64Url(runsOf(picture)));
  if (example !== null) fields.set("example", example);
  if (choices.net) fields.set("net", DATA.networks[choices.net].name);
  for (const name in LIMITS) if (choices[name]) fields.set(name, choices[name]);
  if (off.size) fields.set("off", [...off].join("_").replaceAll(":", "."));
  return fields.toString();
}

// Reads a hash back into the drawing; what does not make sense is left out.
function readHash(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const wholeOf = (name) => (/^-?\d+$/.test(fields.get(name)) ? Number(fields.get(name)) : null);
  const example = wholeOf("example");
  drawing.example = DATA.examples[example] ? example : null;
  drawing.picture = drawing.example === null ? pictureOf(fields.get("picture") ?? "") : null;
  drawing.strokes = strokesOf(fields.get("strokes") ?? "");
  drawing.past = [];
  const net = DATA.networks.findIndex(({ name }) => name === fields.get("net"));
  drawing.choices = { ...CHOICES, net: Math.max(net, 0) };
  for (const [name, limit] of Object.entries(LIMITS)) {
    const value = wholeOf(name);
    if (value && Math.abs(value) <= limit) drawing.choices[name] = value;
  }
  const switches = (fields.get("off") ?? "").replaceAll(".", ":").split("_");
  const known = switchesOf(DATA.networks[drawing.choices.net]);
  drawing.off = new Set(switches.filter((key) => known.includes(key)));
}

// The channels that can be switched off, as "layer:channel": those of every column but the last.
function switchesOf({ columns, layers }) {
  return columns.slice(0, -1).flatMap(({ last }) =>
    Array.from({ length: layers[last].channels }, (_, channel) => `${last}:${channel}`),
  );
}

function base64Url(bytes) {
  const text = bytes.map((byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Decodes base64url to bytes: none if the text is not base64url, as in a link that was cut.
function bytesOf(text) {
  try {
    return decodeBytes(text.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return new Uint8Array();
  }
}

function strokesOf(text) {
  const strokes = [], bytes = bytesOf(text);
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = Math.min(at + 2 + 2 * (bytes[at] * 256 + bytes[at + 1]), bytes.length);
    const stroke = [];
    for (at += 2; at + 2 <= end; at += 2) {
      stroke.push([Math.min(bytes[at], UNITS), Math.min(bytes[at + 1], UNITS)]);
    }
    if (stroke.length) strokes.push(stroke);
  }
  return strokes;
}

function runsOf(picture) {
  const bytes = [];
  for (let begin = 0, bit = 0; begin < picture.length; bit = 1 - bit) {
    let end = begin;
    while (picture[end] === bit) end++;
    let run = end - begin;
    for (; run > 127; run >>= 7) bytes.push(128 | (run & 127));
    bytes.push(run);
    begin = end;
  }
  return bytes;
}

// The picture of such runs, or null where they hold no ink.
function pictureOf(text) {
  const picture = new Uint8Array(UNITS * UNITS);
  let at = 0, bit = 0, run = 0, shift = 0;
  for (const byte of bytesOf(text)) {
    run += (byte & 127) * 2 ** shift;
    shift += 7;
    if (byte > 127) continue;
    picture.fill(bit, at, at + run);
    [at, bit, run, shift] = [at + run, 1 - bit, 0, 0];
  }
  return picture.includes(1) ? picture : null;
}
