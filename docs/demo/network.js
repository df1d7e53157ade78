// The networks: decode the exported numbers, and compute every layer's output in plain loops.

function decodeBytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function decodeNetwork(exported) {
  return { ...exported, weights: new Float32Array(decodeBytes(exported.weights).buffer) };
}

// An image of 784 bytes as the network takes it: one channel, normalised.
function inputOf(pixels) {
  const values = Float32Array.from(pixels, (pixel) => (pixel / 255 - DATA.mean) / DATA.std);
  return { channels: 1, size: 28, values };
}

// The output of every layer. `off` holds "layer:channel" of channels that are set to zero.
function forward(network, input, off = new Set()) {
  let maps = input;
  return network.layers.map((layer, index) => {
    const { channels, size } = layer;
    const values = LAYERS[layer.kind](layer, network.weights, maps);
    for (let c = 0; off.size && c < channels; c++) {
      if (off.has(`${index}:${c}`)) values.fill(0, c * size * size, (c + 1) * size * size);
    }
    maps = { channels, size, values };
    return maps;
  });
}

function logProbabilities(outputs) {
  const logits = outputs.at(-1).values;
  const most = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
  return Array.from(logits, (logit) => logit - most - Math.log(sum));
}

function probabilities(network, pixels, off) {
  return logProbabilities(forward(network, inputOf(pixels), off)).map(Math.exp);
}

// Adds to output map `to` the input map `from`, weighted by the kernel that starts at `offset`.
function addWeighted(layer, weights, offset, input, from, values, to) {
  const { kernel, stride, padding, size } = layer;
  const inputs = input.values, reach = input.size - 1 + padding;
  for (let ky = 0; ky < kernel; ky++) {
    for (let kx = 0; kx < kernel; kx++) {
      const weight = weights[offset + ky * kernel + kx];
      const top = Math.ceil(Math.max(padding - ky, 0) / stride);
      const left = Math.ceil(Math.max(padding - kx, 0) / stride);
      const bottom = Math.min(size, Math.floor((reach - ky) / stride) + 1);
      const right = Math.min(size, Math.floor((reach - kx) / stride) + 1);
      for (let y = top; y < bottom; y++) {
        let at = (from * input.size + y * stride + ky - padding) * input.size + kx - padding;
        at += left * stride;
        const end = (to * size + y) * size + right;
        for (let out = end - right + left; out < end; out++, at += stride) {
          values[out] += weight * inputs[at];
        }
      }
    }
  }
}

const LAYERS = {
  conv(layer, weights, input) {
    const { channels, size, kernel } = layer;
    const values = new Float32Array(channels * size * size);
    for (let to = 0; to < channels; to++) {
      values.fill(weights[layer.bias + to], to * size * size, (to + 1) * size * size);
      for (let from = 0; from < input.channels; from++) {
        const offset = layer.weight + (to * input.channels + from) * kernel * kernel;
        addWeighted(layer, weights, offset, input, from, values, to);
      }
    }
    return values;
  },

  blur(layer, weights, input) {
    const values = new Float32Array(layer.channels * layer.size * layer.size);
    for (let c = 0; c < layer.channels; c++) {
      addWeighted(layer, weights, layer.weight, input, c, values, c);
    }
    return values;
  },

  max(layer, weights, input) {
    return pooled(layer, input, -Infinity, (most, value) => (value > most ? value : most));
  },

  mean(layer, weights, input) {
    const area = layer.kernel * layer.kernel;
    return pooled(layer, input, 0, (sum, value) => sum + value).map((sum) => sum / area);
  },

  relu(layer, weights, input) {
    return input.values.map((value) => (value > 0 ? value : 0));
  },

  norm(layer, weights, input) {
    const area = layer.size * layer.size;
    const values = new Float32Array(input.values.length);
    for (let c = 0; c < layer.channels; c++) {
      const { mean, std, weight, bias } = normOf(layer, weights, c);
      for (let index = c * area; index < (c + 1) * area; index++) {
        values[index] = ((input.values[index] - mean) / std) * weight + bias;
      }
    }
    return values;
  },
};

// BatchNorm's numbers for a channel; std includes eps.
function normOf(layer, weights, channel) {
  const at = (name) => weights[layer[name] + channel];
  const std = Math.sqrt(at("variance") + layer.eps);
  return { mean: at("mean"), std, weight: at("weight"), bias: at("bias") };
}

// Reduces every window of an input map, without padding, to one value.
function pooled(layer, input, initial, reduce) {
  const { channels, size, kernel, stride } = layer;
  const values = new Float32Array(channels * size * size);
  for (let index = 0; index < values.length; index++) {
    const x = index % size, y = Math.floor(index / size) % size;
    const begin = (Math.floor(index / size / size) * input.size + y * stride) * input.size;
    let value = initial;
    for (let ky = 0; ky < kernel; ky++) {
      const row = begin + ky * input.size + x * stride;
      for (let kx = 0; kx < kernel; kx++) value = reduce(value, input.values[row + kx]);
    }
    values[index] = value;
  }
  return values;
}

// The kernel x kernel inputs of channel `from` that output (y, x) is made of; outside is zero.
function windowOf(layer, input, from, y, x) {
  const { kernel, stride, padding } = layer;
  const found = [];
  for (let ky = y * stride - padding, endY = ky + kernel; ky < endY; ky++) {
    for (let kx = x * stride - padding, endX = kx + kernel; kx < endX; kx++) {
      const inside = ky >= 0 && kx >= 0 && ky < input.size && kx < input.size;
      found.push(inside ? input.values[(from * input.size + ky) * input.size + kx] : 0);
    }
  }
  return found;
}
