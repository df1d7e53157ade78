// The answer: two guesses, a bar for each class, and how a shift changes the probability of the
// correct digit.

const NO_DIGIT = 10; // the class after the digits', in networks that have it
const SHIFTS = [-4, -3, -2, -1, 0, 1, 2, 3, 4];

function percent(share) {
  const value = 100 * share;
  if (value < 0.05) return "<0.1 %";
  return value < 99.95 ? `${value.toFixed(1)} %` : ">99.9 %";
}

// Digits, and NO_DIGIT, from the most to the least probable.
function ranked(shares) {
  return shares.map((_, digit) => digit).sort((a, b) => shares[b] - shares[a]);
}

function nameOf(digit) {
  return digit === NO_DIGIT ? "no digit" : String(digit);
}

function buildBars(container, outputs) {
  container.replaceChildren(
    ...Array.from({ length: outputs }, (_, digit) =>
      element(
        "li",
        { title: nameOf(digit) },
        element("b", {}, digit === NO_DIGIT ? "–" : String(digit)),
        element("span", { class: "bar" }, element("i"), element("em")),
        element("output"),
      ),
    ),
  );
}

// `whole` holds the probabilities with every channel on, where some are off.
function paintBars(container, shares, whole) {
  const first = shares && ranked(shares)[0];
  [...container.children].forEach((row, digit) => {
    const [bar, mark] = row.querySelector(".bar").children;
    row.classList.toggle("first", digit === first);
    bar.style.width = shares ? `${100 * shares[digit]}%` : "0";
    mark.hidden = !whole;
    if (whole) mark.style.left = `${100 * whole[digit]}%`;
    row.lastChild.textContent = shares ? percent(shares[digit]) : "";
  });
}

// What is said first: [sign, words, the second guess].
function verdict(shares, several) {
  const [first, second] = ranked(shares);
  const then = `then ${nameOf(second)}, ${percent(shares[second])}`;
  if (several) return ["–", "more than one digit", `read one by one: ${several.join(", ")}`];
  if (first === NO_DIGIT) return ["–", "no digit", `${percent(shares[first])}, ${then}`];
  return [String(first), percent(shares[first]), then];
}

// The sentence under the guess: what the label says, or what the switched off channels cost.
function remark(shares, whole, label) {
  const [first] = ranked(shares);
  if (whole) {
    const [before] = ranked(whole);
    return `with every channel: ${nameOf(before)}, ${percent(whole[before])}`;
  }
  if (label === null) return "";
  return first === label ? "correct: the label agrees" : `misread: the label says ${label}`;
}

// Draws the curves of some networks: `curves` holds {name, shares: [[shift, share], ...]}.
function paintCurves(svg, curves, now) {
  const x = (shift) => 30 + ((shift + 4) / 8) * 160, y = (share) => 92 - 80 * share;
  const parts = [0, 0.5, 1].map(
    (share) => `<path class="grid" d="M30 ${y(share)}H190"/>
      <text x="26" y="${y(share) + 3}" text-anchor="end">${100 * share}</text>`,
  );
  for (const shift of [-4, -2, 0, 2, 4]) {
    const label = shift > 0 ? `+${shift}` : String(shift).replace("-", "−");
    parts.push(`<text x="${x(shift)}" y="106" text-anchor="middle">${label}</text>`);
  }
  parts.push(`<path class="now" d="M${x(now)} 12V92"/>`);
  curves.forEach(({ shares }, number) => {
    const points = shares.map(([shift, share]) => `${x(shift)},${y(share).toFixed(1)}`);
    parts.push(`<polyline class="net${number}" points="${points.join(" ")}"/>`);
    for (const point of points) {
      const [cx, cy] = point.split(",");
      parts.push(`<circle class="net${number}" cx="${cx}" cy="${cy}" r="2"/>`);
    }
  });
  svg.innerHTML = parts.join("");
}
