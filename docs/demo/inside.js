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
    const kernel = numberGrid(weights, onSigned(largest), `kernel for ${name}`);
    card.append(element("span", {}, "×"), kernel);
    card.append(element("output", {}, `= ${signed(sum, 3)}`));
  }
  return card;
}

// The steps from the windows to the value of the map, as [what, how it is computed, result].
function stepsOf(network, { parts, bias, layers, off }, channel) {
  let value = 0;
  const steps = layers.map((layer) => {
    const [before, what, how] = [signed(value, 3), ...explained(layer)];
    return [what, how(before), signed(value, 3)];
  });
  return off ? [...steps, ["switched off", "", signed(0, 3)]] : steps;

  // Computes `value` anew by a layer; returns what the layer is, and how to say its sum.
  function explained(layer) {
    const [{ window, sum }] = parts, size = window.length;
    switch (layer.kind) {
      case "conv": {
        const total = parts.reduce((all, part) => all + part.sum, 0);
        value = total + bias;
        return ["sum + bias", () => `${signed(total, 3)} + ${signed(bias, 3)}`];
      }
      case "relu":
        value = Math.max(value, 0);
        return ["ReLU", (before) => `max(0, ${before})`];
      case "norm": {
        const { mean, std, weight, bias: shift } = normOf(layer, network.weights, channel);
        const [m, s, w, c] = [mean, std, weight, shift].map((number) => signed(number, 3));
        value = ((value - mean) / std) * weight + shift;
        return ["BatchNorm", (before) => `(${before} − ${m}) ÷ ${s} × ${w} + ${c}`];
      }
      case "blur":
        value = sum;
        return ["weighted sum", () => `of ${size} pixels`];
      case "max":
        value = Math.max(...window);
        return ["maximum", () => `of ${size} pixels`];
      default:
        value = window.reduce((all, each) => all + each, 0) / size;
        return ["mean", () => `of ${size} pixels`];
    }
  }
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
  mark.style.setProperty("--x", place.x);
  mark.style.setProperty("--y", place.y);
  mark.style.setProperty("--n", pixel.size);
  find("#inside-sees polygon").setAttribute("points", pointsOf(cornersOf(pixel.sees)));
}
