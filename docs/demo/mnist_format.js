// From strokes to the 28x28 image: a pen, and predict.py's rules written out.

const PAPER = 504; // pixels a side of the paper that strokes are drawn on
const UNITS = 252; // strokes have whole coordinates from 0 to this: nine to a pixel of the image
const PEN = 22; // width of a stroke, in units: 8.7 % of the paper
const SIDE = 28, BOX = 20; // MNIST's images, and the box that its digits fit into
const CUBIC_A = -0.75; // Keys' parameter a of cubic convolution

// Adds a segment of a stroke to the ink: PAPER x PAPER bytes, 1 where the pen has been.
function inkSegment(ink, from, to) {
  const scale = PAPER / UNITS, radius = (PEN / 2) * scale;
  const [ax, ay, bx, by] = [...from, ...to].map((value) => value * scale);
  const dx = bx - ax, dy = by - ay, length2 = dx * dx + dy * dy;
  const limit = (value) => Math.max(0, Math.min(PAPER, roundHalfUp(value)));
  const bottom = limit(Math.max(ay, by) + radius), right = limit(Math.max(ax, bx) + radius);
  for (let y = limit(Math.min(ay, by) - radius); y < bottom; y++) {
    for (let x = limit(Math.min(ax, bx) - radius); x < right; x++) {
      const px = x + 0.5 - ax, py = y + 0.5 - ay;
      const along = length2 ? Math.max(0, Math.min(1, (px * dx + py * dy) / length2)) : 0;
      const toX = px - along * dx, toY = py - along * dy;
      if (toX * toX + toY * toY < radius * radius) ink[y * PAPER + x] = 1;
    }
  }
}

// The ink of strokes, and of a picture: UNITS x UNITS bytes, 1 where it has ink.
function inkOf(strokes, picture = null) {
  const ink = new Uint8Array(PAPER * PAPER), step = PAPER / UNITS;
  for (let index = 0; picture && index < ink.length; index++) {
    const y = Math.floor(index / PAPER / step), x = Math.floor((index % PAPER) / step);
    ink[index] = picture[y * UNITS + x];
  }
  for (const stroke of strokes) {
    stroke.forEach((point, index) => inkSegment(ink, stroke[Math.max(index - 1, 0)], point));
  }
  return ink;
}

// Brings ink to MNIST's format, as mnist_format.py's to_mnist_format does: crop, fit into 20x20
// pixels, divide by the maximum, put the centre of mass at 14, 14. Returns the pixels and `place`:
// the image's point (x, y) shows the paper at (left + x * scale, top + y * scale). Null where there
// is no ink.
function toMnistFormat(ink) {
  const { top, left, width, height } = boxOf(ink, PAPER);
  if (width <= 0) return null;
  const longest = Math.max(width, height);
  const columns = resampling(Math.max(1, roundHalfUp((BOX * width) / longest)), width);
  const rows = resampling(Math.max(1, roundHalfUp((BOX * height) / longest)), height);
  const narrow = Array.from({ length: height }, (_, y) => {
    const start = (top + y) * PAPER + left;
    return columns.map((weights) => weightedSum(weights, (x) => ink[start + x]));
  });
  const clipped = (value) => Math.max(0, Math.min(1, value));
  const digit = rows.map((weights) =>
    columns.map((_, x) => clipped(weightedSum(weights, (y) => narrow[y][x]))),
  );
  const most = Math.max(...digit.flat());
  if (most < 0.25) return null;

  let mass = 0, massX = 0, massY = 0;
  digit.forEach((row, y) => row.forEach((value, x) => {
    mass += value;
    massX += value * x;
    massY += value * y;
  }));
  const corner = (moment, length) =>
    Math.max(0, Math.min(SIDE - length, roundHalfUp(SIDE / 2 - moment / mass)));
  const cornerX = corner(massX, columns.length), cornerY = corner(massY, rows.length);
  const pixels = new Uint8Array(SIDE * SIDE);
  digit.forEach((row, y) => row.forEach((value, x) => {
    pixels[(cornerY + y) * SIDE + cornerX + x] = roundHalfUp((255 * value) / most);
  }));
  const scale = longest / BOX;
  return { pixels, place: { left: left - cornerX * scale, top: top - cornerY * scale, scale } };
}

// The smallest box with all the ink, side x side; width and height are not positive without any.
function boxOf(ink, side) {
  let top = side, bottom = -1, left = side, right = -1;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      if (!ink[y * side + x]) continue;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
      if (x < left) left = x;
      if (x > right) right = x;
    }
  }
  return { top, left, width: right - left + 1, height: bottom - top + 1 };
}

// Rounds half up; what rounding errors keep from a half counts as one.
function roundHalfUp(value) {
  return Math.floor(value + 0.5 + 1e-9);
}

// How a row of samples becomes so many pixels, by cubic convolution: for each pixel, pairs of
// [sample, weight].
function resampling(pixels, samples) {
  const scale = samples / pixels, reach = Math.max(scale, 1);
  return Array.from({ length: pixels }, (_, pixel) => {
    const centre = (pixel + 0.5) * scale, weights = [];
    for (let sample = 0; sample < samples; sample++) {
      const weight = cubic(Math.abs(sample + 0.5 - centre) / reach);
      if (weight !== 0) weights.push([sample, weight]);
    }
    const sum = weights.reduce((total, [, weight]) => total + weight, 0);
    return weights.map(([sample, weight]) => [sample, weight / sum]);
  });
}

// The weight of a sample at a distance, in pixels.
function cubic(x) {
  if (x < 1) return (CUBIC_A + 2) * x ** 3 - (CUBIC_A + 3) * x ** 2 + 1;
  return x < 2 ? CUBIC_A * (x ** 3 - 5 * x ** 2 + 8 * x - 4) : 0;
}

function weightedSum(weights, value) {
  let sum = 0;
  for (const [sample, weight] of weights) sum += weight * value(sample);
  return sum;
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
    return Math.max(pixel, roundHalfUp((255 * sum) / (step * step)));
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
    return roundHalfUp(upper * (1 - v) + lower * v);
  });
}

// Where the corners of a square of the moved image lie in the image before it was moved.
function unmoved([x, y], { right, down, degrees }) {
  const angle = (degrees * Math.PI) / 180, cos = Math.cos(angle), sin = Math.sin(angle);
  const dx = x - right - SIDE / 2, dy = y - down - SIDE / 2;
  return [dx * cos + dy * sin + SIDE / 2, dy * cos - dx * sin + SIDE / 2];
}
