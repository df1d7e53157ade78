// More than one digit on the paper: groups of ink that stand apart, each of them read as a digit.

const COARSE = 126; // cells a side of the paper, in which parts are looked for
const OVERLAP = 0.5; // of the narrower one's width: parts above each other are of one digit
const TALL = 0.4; // of the tallest group's height: a lower group is no digit of its own
const GAP = 0.12; // of that height: a wider gap separates digits even where they look like one
const SURE = 0.8; // probability at which a group counts as a digit

// The digits that are read where the ink holds more than one, from left to right; null where it
// holds one or none. `read` maps an image to probabilities, `whole` is the image of all the ink.
function severalIn(ink, whole, read) {
  const groups = groupsOf(coarsened(ink));
  const tallest = Math.max(...groups.map(({ bottom, top }) => bottom - top));
  const tall = groups.filter(({ bottom, top }) => bottom - top >= TALL * tallest);
  if (tall.length < 2) return null;
  const digits = [];
  for (const group of tall) {
    const image = toMnistFormat(inkWithin(ink, group));
    const shares = image ? read(image.pixels) : [], [first] = ranked(shares);
    if (!(shares[first] >= SURE) || first === NO_DIGIT) return null;
    digits.push(first);
  }
  const gaps = tall.slice(1).map(({ left }, index) => left - tall[index].right - 1);
  const apart = gaps.some((gap) => gap > GAP * tallest);
  return apart || ranked(read(whole))[0] === NO_DIGIT ? digits : null;
}

// Cells of the paper, 1 where they have ink.
function coarsened(ink) {
  const step = PAPER / COARSE, cells = new Uint8Array(COARSE * COARSE);
  for (let index = 0; index < ink.length; index++) {
    if (!ink[index]) continue;
    const y = Math.floor(index / PAPER / step), x = Math.floor((index % PAPER) / step);
    cells[y * COARSE + x] = 1;
  }
  return cells;
}

// Parts of the ink that are not above each other: {cells, left, right, top, bottom}, from left to
// right.
function groupsOf(cells) {
  let groups = partsOf(cells, COARSE).map((part) => boxed(part));
  for (let joined = true; joined; ) {
    joined = false;
    for (const one of groups) {
      const other = groups.find((other) => other !== one && overlap(one, other));
      if (!other) continue;
      groups = groups.filter((group) => group !== one && group !== other);
      groups.push(boxed([...one.cells, ...other.cells]));
      joined = true;
      break;
    }
  }
  return groups.sort((one, other) => one.left - other.left);

  function overlap(one, other) {
    const shared = Math.min(one.right, other.right) - Math.max(one.left, other.left) + 1;
    const narrower = Math.min(one.right - one.left, other.right - other.left) + 1;
    return shared >= OVERLAP * narrower;
  }
}

function boxed(cells) {
  const xs = cells.map((cell) => cell % COARSE), ys = cells.map((cell) => Math.floor(cell / COARSE));
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  return { cells, left, right, top: Math.min(...ys), bottom: Math.max(...ys) };
}

function inkWithin(ink, { cells }) {
  const step = PAPER / COARSE, within = new Uint8Array(COARSE * COARSE);
  for (const cell of cells) within[cell] = 1;
  return ink.map((value, index) => {
    const y = Math.floor(index / PAPER / step), x = Math.floor((index % PAPER) / step);
    return value && within[y * COARSE + x];
  });
}

// The connected parts of side x side ink, corners included: the indices of each one's pixels.
function partsOf(ink, side) {
  const open = Uint8Array.from(ink), parts = [];
  for (let begin = 0; begin < open.length; begin++) {
    if (!open[begin]) continue;
    const part = [begin];
    open[begin] = 0;
    for (let next = 0; next < part.length; next++) {
      const x = part[next] % side, y = Math.floor(part[next] / side);
      for (let dy = y > 0 ? -1 : 0; dy <= 1 && y + dy < side; dy++) {
        for (let dx = x > 0 ? -1 : 0; dx <= 1 && x + dx < side; dx++) {
          const other = part[next] + dy * side + dx;
          if (open[other]) part.push(other);
          open[other] = 0;
        }
      }
    }
    parts.push(part);
  }
  return parts;
}
