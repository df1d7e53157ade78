// Look inside a map: the sum that makes one of its pixels, with all its numbers.

// A square of numbers, each on its colour.
function numberGrid(values, colour, caption) {
  const side = Math.sqrt(values.length);
  const cells = Array.from(values, (value) => {
    const cell = element("span", {}, signed(value));
    const [background, ink] = colour(value);
    cell.style.background = background;
    cell.style.color = ink;
    return cell;
  });
  const grid = element("div", { class: "numbers", role: "img", "aria-label": caption }, ...cells);
  grid.style.setProperty("--side", side);
  return grid;
}

function onSigned(largest) {
  return (value) => {
    const share = value / largest;
    return [signColour(share), Math.abs(share) > 0.6 ? "#fff" : "#111"];
  };
}

// A part of a sum: an input map's window times its kernel.
function partCard({ from, window, weights, sum }, largest, range, first) {
  const name = first ? "image" : `map ${from + 1}`;
  const card = element("div", { class: "part" }, element("h4", {}, name));
  card.append(numberGrid(window, onSigned(range), `inputs of ${name}`));
  if (weights) {
    card.append(element("span", {}, "×"), numberGrid(weights, onSigned(largest), `kernel for ${name}`));
    card.append(element("output", {}, `= ${signed(sum, 3)}`));
  }
  return card;
}

// The steps from the sum to the value of the map, as [what, how it is computed, result].
function stepsOf(network, pixel, channel) {
  return pixel.steps.map(({ kind, layer, value }, index) => {
    const before = index ? pixel.steps[index - 1].value : 0;
    const result = signed(value, 3);
    if (kind === "conv") {
      const sum = pixel.parts.reduce((total, part) => total + part.sum, 0);
      return ["sum + bias", `${signed(sum, 3)} + ${signed(pixel.bias, 3)}`, result];
    }
    if (kind === "relu") return ["ReLU", `max(0, ${signed(before, 3)})`, result];
    if (kind === "norm") {
      const { mean, std, weight, bias } = normOf(layer, network.weights, channel);
      const [b, m, s, w, c] = [before, mean, std, weight, bias].map((n) => signed(n, 3));
      return ["BatchNorm", `(${b} − ${m}) ÷ ${s} × ${w} + ${c}`, result];
    }
    return [{ max: "largest", mean: "mean", blur: "weighted sum" }[kind], "of the window", result];
  });
}

function paintInside(dialog, network, pixel, place, first) {
  const find = (name) => dialog.querySelector(name);
  const largest = largestWeight(pixel.parts);
  const range = Math.max(...pixel.parts.flatMap(({ window }) => window.map(Math.abs)), 1e-12);
  find("h2").textContent = `Layer ${place.column + 1}, map ${place.channel + 1}`;
  find("#inside-what").textContent = pixel.title;
  find("#inside-place").textContent =
    `row ${place.y + 1}, column ${place.x + 1} of ${pixel.size}: ${signed(pixel.value, 3)}`;
  const cards = pixel.parts.map((part) => partCard(part, largest, range, first));
  find("#parts").replaceChildren(...cards);
  find("#steps").replaceChildren(
    ...stepsOf(network, pixel, place.channel).map(([what, how, result]) =>
      element(
        "li",
        {},
        element("b", {}, what),
        element("span", {}, how),
        element("output", {}, `= ${result}`),
      ),
    ),
  );
  const mark = find("#inside-mark");
  for (const [name, value] of Object.entries({ "--x": place.x, "--y": place.y, "--n": pixel.size })) {
    mark.style.setProperty(name, value);
  }
  find("#inside-sees polygon").setAttribute("points", pointsOf(cornersOf(pixel.sees)));
}
