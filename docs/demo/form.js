// From strokes to the 28x28 image: a pen, and predict.py's rules written out.

const PAPER = 504; // pixels a side of the paper that strokes are drawn on
const UNITS = 252; // strokes have whole coordinates from 0 to this: nine to a pixel of the image
const PEN = 22; // width of a stroke, in units: 8.7 % of the paper
const SIDE = 28, BOX = 20; // MNIST's images, and the box that its digits fit into

// Adds a segment of a stroke to the ink (PAPER x PAPER values from 0 to 1), with soft edges.
function inkSegment(ink, from, to) {
  const scale = PAPER / UNITS, radius = (PEN / 2) * scale;
  const [ax, ay, bx, by] = [...from, ...to].map((value) => value * scale);
  const dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;
  const limit = (value) => Math.max(0, Math.min(PAPER, value));
  const top = limit(Math.floor(Math.min(ay, by) - radius - 1));
  const bottom = limit(Math.ceil(Math.max(ay, by) + radius + 1));
  const left = limit(Math.floor(Math.min(ax, bx) - radius - 1));
  const right = limit(Math.ceil(Math.max(ax, bx) + radius + 1));
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const px = x + 0.5 - ax, py = y + 0.5 - ay;
      const along = length2 ? Math.max(0, Math.min(1, (px * dx + py * dy) / length2)) : 0;
      const distance = Math.hypot(px - along * dx, py - along * dy);
      const cover = Math.max(0, Math.min(1, radius + 0.5 - distance));
      const index = y * PAPER + x;
      if (cover > ink[index]) ink[index] = cover;
    }
  }
}

function inkOf(strokes) {
  const ink = new Float32Array(PAPER * PAPER);
  for (const stroke of strokes) {
    stroke.forEach((point, index) => inkSegment(ink, stroke[Math.max(index - 1, 0)], point));
  }
  return ink;
}

// Brings ink to MNIST's form: crop, fit into 20x20 pixels, centre of mass at 14, 14. Returns the
// pixels and `place`: a pixel (x, y) shows the ink at (left + x * scale, top + y * scale). Null
// where there is no ink.
function mnistForm(ink) {
  const fullInk = (value) => Math.max(0, Math.min(1, (value - 0.2) / 0.7));
  let top = PAPER, bottom = -1, left = PAPER, right = -1;
  for (let y = 0; y < PAPER; y++) {
    for (let x = 0; x < PAPER; x++) {
      if (fullInk(ink[y * PAPER + x]) <= 0.5) continue;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      if (x < left) left = x;
      if (x > right) right = x;
    }
  }
  if (bottom < 0) return null;
  const cropped = { width: right - left + 1, height: bottom - top + 1 };
  cropped.values = new Float64Array(cropped.width * cropped.height);
  for (let y = 0; y < cropped.height; y++) {
    const row = (top + y) * PAPER + left;
    for (let x = 0; x < cropped.width; x++) {
      cropped.values[y * cropped.width + x] = Math.floor(255 * fullInk(ink[row + x]));
    }
  }
  const longest = Math.max(cropped.width, cropped.height);
  const width = Math.max(1, roundHalfToEven((BOX * cropped.width) / longest));
  const height = Math.max(1, roundHalfToEven((BOX * cropped.height) / longest));
  const digit = transposed(narrowed(transposed(narrowed(cropped, width)), height));
  const [x, y] = cornerOf(digit);
  const pixels = new Uint8Array(SIDE * SIDE);
  digit.values.forEach((value, index) => {
    const row = y + Math.floor(index / width), column = x + (index % width);
    pixels[row * SIDE + column] = value;
  });
  const scale = longest / BOX;
  return { pixels, place: { left: left - x * scale, top: top - y * scale, scale } };
}

// Where the left upper corner of a digit goes, so that its centre of mass is at pixel 14, 14.
function cornerOf({ width, height, values }) {
  let mass = 0, massX = 0, massY = 0;
  values.forEach((value, index) => {
    mass += value;
    massX += value * (index % width);
    massY += value * Math.floor(index / width);
  });
  const corner = (moment, length) =>
    Math.max(0, Math.min(SIDE - length, roundHalfToEven(SIDE / 2 - moment / mass)));
  return [corner(massX, width), corner(massY, height)];
}

function roundHalfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}

// Resamples the rows of an image to another width: a window of three sincs, as wide as needed.
function narrowed({ width, height, values }, newWidth) {
  const scale = width / newWidth, wide = Math.max(scale, 1), reach = 3 * wide;
  const out = new Float64Array(newWidth * height);
  for (let x = 0; x < newWidth; x++) {
    const centre = (x + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(width, Math.floor(centre + reach + 0.5));
    const weights = [];
    for (let from = first; from < last; from++) weights.push(lanczos((from + 0.5 - centre) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    for (let y = 0; y < height; y++) {
      let total = 0;
      for (let k = 0; k < weights.length; k++) total += weights[k] * values[y * width + first + k];
      out[y * newWidth + x] = Math.max(0, Math.min(255, Math.round(total / sum)));
    }
  }
  return { width: newWidth, height, values: out };
}

function lanczos(x) {
  const sinc = (value) => (value === 0 ? 1 : Math.sin(Math.PI * value) / (Math.PI * value));
  return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
}

function transposed({ width, height, values }) {
  return {
    width: height,
    height: width,
    values: values.map((_, index) => values[(index % height) * width + Math.floor(index / height)]),
  };
}

// An example with strokes on it: each pixel has the mean ink of its square, or its own if more.
function inkedExample(pixels, ink) {
  const step = PAPER / SIDE;
  return pixels.map((pixel, index) => {
    const top = Math.floor(index / SIDE) * step, left = (index % SIDE) * step;
    let sum = 0;
    for (let y = top; y < top + step; y++) {
      for (let x = left; x < left + step; x++) sum += ink[y * PAPER + x];
    }
    return Math.max(pixel, Math.round((255 * sum) / (step * step)));
  });
}

// Turns an image clockwise around its centre, bilinearly, then shifts it by whole pixels.
function moved(pixels, right, down, degrees) {
  const angle = (degrees * Math.PI) / 180, cos = Math.cos(angle), sin = Math.sin(angle);
  const middle = (SIDE - 1) / 2;
  const at = (y, x) => (y >= 0 && x >= 0 && y < SIDE && x < SIDE ? pixels[y * SIDE + x] : 0);
  return pixels.map((_, index) => {
    const x = (index % SIDE) - right - middle, y = Math.floor(index / SIDE) - down - middle;
    const fromX = x * cos + y * sin + middle, fromY = y * cos - x * sin + middle;
    const left = Math.floor(fromX), top = Math.floor(fromY);
    const u = fromX - left, v = fromY - top;
    const upper = at(top, left) * (1 - u) + at(top, left + 1) * u;
    const lower = at(top + 1, left) * (1 - u) + at(top + 1, left + 1) * u;
    return Math.round(upper * (1 - v) + lower * v);
  });
}

// Where the corners of a square of the moved image lie in the image before it was moved.
function unmoved([x, y], { right, down, degrees }) {
  const angle = (degrees * Math.PI) / 180, cos = Math.cos(angle), sin = Math.sin(angle);
  const dx = x - right - SIDE / 2, dy = y - down - SIDE / 2;
  return [dx * cos + dy * sin + SIDE / 2, dy * cos - dx * sin + SIDE / 2];
}
