// The network from left to right: a column a layer, a canvas a feature map. And what made a pixel.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Builds the columns of a network; returns its maps as [column][channel] elements.
function buildColumns(network, container) {
  container.replaceChildren();
  return network.columns.map((column, number) => {
    const { size, channels, field } = network.layers[column.last];
    const head = element("div", { class: "head", role: "rowheader", title: column.title });
    head.append(
      element("strong", {}, ...column.name.split(" ").map((word) => element("span", {}, word))),
      element("span", {}, `${size}×${size}×${channels}`),
      element("span", { class: "field" }, `RF ${field}`),
    );
    const maps = Array.from({ length: channels }, (_, channel) => {
      const canvas = element("canvas", { width: size, height: size, "aria-hidden": "true" });
      return element(
        "div",
        {
          class: "map",
          role: "gridcell",
          tabindex: number || channel ? "-1" : "0",
          "data-column": number,
          "data-channel": channel,
          "aria-label": `Layer ${number + 1}, ${column.title}: map ${channel + 1} of ${channels}`,
        },
        canvas,
      );
    });
    const stack = element("div", { class: "stack", role: "presentation" }, ...maps);
    const classes = size === 1 ? "column narrow" : "column";
    container.append(element("div", { class: classes, role: "row" }, head, stack));
    return maps;
  });
}

// The least and the most that each map holds over some images, so that its colours stay put.
function rangesOf(network, images) {
  const ranges = network.columns.map(({ last }) =>
    Array.from({ length: network.layers[last].channels }, () => [Infinity, -Infinity]),
  );
  for (const pixels of images) {
    const outputs = forward(network, inputOf(pixels));
    network.columns.forEach(({ last }, number) => {
      const { size, values } = outputs[last];
      values.forEach((value, index) => {
        const range = ranges[number][Math.floor(index / size / size)];
        range[0] = Math.min(range[0], value);
        range[1] = Math.max(range[1], value);
      });
    });
  }
  return ranges;
}

function mapLevels({ size, values }, channel, [least, most]) {
  const scale = most > least ? 255 / (most - least) : 0;
  return values
    .subarray(channel * size * size, (channel + 1) * size * size)
    .map((value) => Math.max(0, Math.min(255, Math.round((value - least) * scale))));
}

function paintMaps(network, outputs, maps, ranges, colours) {
  network.columns.forEach(({ last }, number) => {
    maps[number].forEach((map, channel) => {
      paint(map.firstChild, mapLevels(outputs[last], channel, ranges[number][channel]), colours);
    });
  });
}

// Everything about one pixel of a map: what it is made of, and what it sees.
function probe(network, outputs, input, { column, channel, y, x }, off = new Set()) {
  const { first, last, title } = network.columns[column];
  const layer = network.layers[first];
  const source = first ? outputs[first - 1] : input;
  const { kernel, stride, padding, kind, jump, field, start: begin } = layer;
  const side = kernel * kernel;
  const all = kind === "conv";
  const channels = all ? [...Array(source.channels).keys()] : [channel];
  const parts = channels.map((from) => {
    const offset = all ? layer.weight + (channel * source.channels + from) * side : layer.weight;
    const weighted = layer.weight !== undefined;
    const weights = weighted ? network.weights.slice(offset, offset + side) : null;
    const window = windowOf(layer, source, from, y, x);
    const sum = weights?.reduce((total, weight, index) => total + weight * window[index], 0);
    return { from, window, weights, sum };
  });
  return {
    title, kernel, parts,
    layers: network.layers.slice(first, last + 1),
    value: outputs[last].values[(channel * layer.size + y) * layer.size + x],
    size: layer.size,
    off: off.has(`${last}:${channel}`),
    bias: all ? network.weights[layer.bias + channel] : 0,
    source: { size: source.size, y: y * stride - padding, x: x * stride - padding },
    sees: { x: begin + jump * x, y: begin + jump * y, side: field },
  };
}

function largestWeight(parts) {
  return Math.max(...parts.flatMap(({ weights }) => Array.from(weights ?? [0], Math.abs)), 1e-12);
}

// The corners of what a pixel sees, cut to the image: [[x, y], ...] in pixels of the image.
function cornersOf({ x, y, side }) {
  const cut = (value) => Math.max(0, Math.min(SIDE, value));
  const [left, top, right, bottom] = [x, y, x + side, y + side].map(cut);
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

function pointsOf(corners) {
  return corners.map((corner) => corner.map((value) => value.toFixed(2)).join(",")).join(" ");
}

function signed(value, digits = 2) {
  return value.toFixed(digits).replace("-", "−");
}
