// An image that is dropped, pasted or opened, read as a drawing: dark on light or light on dark.

const MARGIN = 0.15; // around what is drawn in an image, as a share of its longer side
const CONTRAST = 12; // of 255 grey levels: an image with less is empty
const LEVEL = 0.4; // of the contrast: more is ink
const SHADE = 60; // grey levels that light makes across a sheet, from the border's median
const SPECKS = 30; // so many of the UNITS x UNITS pixels may be anything
const SPECK = 0.02; // of the largest part's area: smaller parts are dropped

// Returns UNITS x UNITS bytes, 1 where the image has ink, fitted onto the paper. Rejects with an
// Error that says what is wrong with the file.
async function readImage(file) {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(`Expected an image, got ${file.name || "something else"}.`);
  });
  const whole = { left: 0, top: 0, side: Math.max(image.width, image.height) };
  whole.left = (image.width - whole.side) / 2;
  whole.top = (image.height - whole.side) / 2;
  const ink = inkOfImage(image, whole);
  if (!ink) throw new Error("There is no ink in this image.");
  // Once more, closer: a small digit on a large sheet keeps its thin lines.
  const { left, top, width, height } = boxOf(ink, UNITS);
  const unit = whole.side / UNITS, side = Math.max(width, height) * (1 + 2 * MARGIN);
  const closer = {
    left: whole.left + (left + width / 2 - side / 2) * unit,
    top: whole.top + (top + height / 2 - side / 2) * unit,
    side: side * unit,
  };
  return side < UNITS / 2 ? inkOfImage(image, closer) ?? ink : ink;
}

// The ink in a square of the image, or null where there is none: what differs from the paper,
// compared with what differs most.
function inkOfImage(image, square) {
  for (const ground of ["white", "black"]) { // shows through where the image is transparent
    const differences = differencesIn(image, square, ground);
    const sorted = differences.slice().sort();
    const [darkest, lightest] = [sorted[SPECKS], sorted.at(-1 - SPECKS)];
    const most = lightest > -darkest ? lightest : darkest;
    if (Math.abs(most) < CONTRAST) continue;
    return withoutSpecks(Uint8Array.from(differences, (value) => Number(value / most > LEVEL)));
  }
  return null;
}

// How many grey levels each of UNITS x UNITS pixels is lighter than the paper; 0 beyond the image.
function differencesIn(image, { left, top, side }, ground) {
  const canvas = element("canvas", { width: UNITS, height: UNITS });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const scale = UNITS / side, [x, y] = [-left * scale, -top * scale];
  const [width, height] = [image.width * scale, image.height * scale];
  context.imageSmoothingQuality = "high";
  context.fillStyle = ground;
  context.fillRect(x, y, width, height);
  context.drawImage(image, x, y, width, height);
  const { data } = context.getImageData(0, 0, UNITS, UNITS);
  const levels = new Float32Array(UNITS * UNITS).map((_, index) =>
    [0.299, 0.587, 0.114].reduce((sum, part, colour) => sum + part * data[4 * index + colour], 0),
  );
  const [x0, y0] = [x, y].map((begin) => Math.ceil(Math.max(0, begin)));
  const [x1, y1] = [x + width, y + height].map((end) => Math.floor(Math.min(UNITS, end)));
  const paper = paperOf(levels, x0, y0, x1, y1);
  return levels.map((level, index) => {
    const column = index % UNITS, row = Math.floor(index / UNITS);
    const within = column >= x0 && row >= y0 && column < x1 && row < y1;
    return within ? level - paper((column - x0) / (x1 - x0), (row - y0) / (y1 - y0)) : 0;
  });
}

// The paper's level at a place, as a function of shares of width and height. Light falls off across
// a sheet, so it goes from corner to corner; a corner that has ink counts as the border does.
function paperOf(levels, x0, y0, x1, y1) {
  const square = (left, top, width, height) =>
    Array.from({ length: width * height }, (_, index) =>
      levels[(top + Math.floor(index / width)) * UNITS + left + (index % width)],
    );
  const wide = x1 - x0, high = y1 - y0, near = Math.ceil(Math.min(wide, high) / 8);
  const border = median([
    ...square(x0, y0, wide, 3), ...square(x0, y1 - 3, wide, 3),
    ...square(x0, y0, 3, high), ...square(x1 - 3, y0, 3, high),
  ]);
  const corner = (left, top) => {
    const level = median(square(left, top, near, near));
    return Math.abs(level - border) < SHADE ? level : border;
  };
  const [a, b] = [corner(x0, y0), corner(x1 - near, y0)];
  const [c, d] = [corner(x0, y1 - near), corner(x1 - near, y1 - near)];
  return (x, y) => (a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y;
}

// Drops the parts of the ink that are much smaller than the largest.
function withoutSpecks(ink) {
  const parts = partsOf(ink, UNITS), largest = Math.max(...parts.map(({ length }) => length));
  const kept = new Uint8Array(ink.length);
  for (const part of parts) {
    if (part.length >= SPECK * largest) for (const index of part) kept[index] = 1;
  }
  return kept;
}
