// What the visitor has made: an example, strokes on it, and how the digit is moved. Undo, link.

const CHOICES = { net: 0, right: 0, down: 0, degrees: 0 };
const LIMITS = { right: 4, down: 4, degrees: 45 };

const drawing = {
  example: null, // a number, or null
  strokes: [], // of points [x, y], whole units
  past: [], // what Undo goes back to
  choices: { ...CHOICES },
  off: new Set(), // "layer:channel"
};

function remember() {
  drawing.past.push({ example: drawing.example, strokes: drawing.strokes });
}

function undo() {
  Object.assign(drawing, drawing.past.pop());
}

function start(example = null) {
  remember();
  Object.assign(drawing, { example, strokes: [] });
}

function beginStroke(point) {
  remember();
  drawing.strokes = [...drawing.strokes, [point]];
}

// Adds a point to the last stroke; returns whether it is a new one.
function extendStroke(point) {
  const stroke = drawing.strokes.at(-1), [x, y] = stroke.at(-1);
  if (x === point[0] && y === point[1]) return false;
  drawing.strokes = [...drawing.strokes.slice(0, -1), [...stroke, point]];
  return true;
}

// The share link's hash. Strokes are bytes: the number of points in two, then x and y of each.
function hashOf({ example, strokes, choices, off }) {
  const bytes = strokes.flatMap((stroke) => {
    const count = stroke.length;
    return [count >> 8, count & 255, ...stroke.flat()];
  });
  const fields = new URLSearchParams();
  if (bytes.length) fields.set("strokes", base64Url(bytes));
  if (example !== null) fields.set("example", example);
  if (choices.net) fields.set("net", DATA.networks[choices.net].name);
  for (const name in LIMITS) if (choices[name]) fields.set(name, choices[name]);
  if (off.size) fields.set("off", [...off].join("_").replaceAll(":", "."));
  return fields.toString();
}

// Reads a hash back into the drawing; what does not make sense is left out.
function readHash(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const example = fields.has("example") ? Number(fields.get("example")) : null;
  drawing.example = DATA.examples[example] ? example : null;
  drawing.strokes = strokesOf(fields.get("strokes") ?? "");
  drawing.past = [];
  const net = DATA.networks.findIndex(({ name }) => name === fields.get("net"));
  drawing.choices = { ...CHOICES, net: Math.max(net, 0) };
  for (const [name, limit] of Object.entries(LIMITS)) {
    const value = Math.round(Number(fields.get(name)));
    if (Math.abs(value) <= limit) drawing.choices[name] = value;
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

function strokesOf(text) {
  const strokes = [];
  try {
    const bytes = decodeBytes(text.replaceAll("-", "+").replaceAll("_", "/"));
    for (let at = 0; at + 4 <= bytes.length; ) {
      const end = Math.min(at + 2 + 2 * (bytes[at] * 256 + bytes[at + 1]), bytes.length);
      const stroke = [];
      for (at += 2; at + 2 <= end; at += 2) {
        stroke.push([Math.min(bytes[at], UNITS), Math.min(bytes[at + 1], UNITS)]);
      }
      if (stroke.length) strokes.push(stroke);
    }
  } catch {
    // not base64: a link that was cut or mistyped
  }
  return strokes;
}
