// Colours that pixels are painted in: maps from pale to dark (or dark to pale), kernels from red
// through white to blue. Both stay readable for a colour-blind eye.

const THEMES = {
  light: {
    paper: [255, 255, 255],
    ink: [22, 27, 51],
    ramp: [[240, 242, 249], [128, 158, 214], [23, 34, 92]],
  },
  dark: {
    paper: [22, 25, 37],
    ink: [240, 238, 226],
    ramp: [[25, 29, 43], [72, 106, 176], [246, 240, 212]],
  },
};
const RED = [178, 24, 43], WHITE = [255, 255, 255], BLUE = [33, 102, 172];

function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

function theme() {
  return THEMES[isDark() ? "dark" : "light"];
}

function mixed(from, to, share) {
  return from.map((value, index) => Math.round(value + (to[index] - value) * share));
}

// 256 colours of a theme's ramp, as a canvas holds its pixels: for feature maps.
function rampPalette({ ramp }) {
  return palette((share) => {
    const place = 2 * share, low = share < 0.5 ? 0 : 1;
    return mixed(ramp[low], ramp[low + 1], place - low);
  });
}

// From paper to ink: for what is drawn.
function inkPalette({ paper, ink }) {
  return palette((share) => mixed(paper, ink, share));
}

function palette(colour) {
  const bytes = new Uint8Array(4 * 256);
  for (let level = 0; level < 256; level++) bytes.set([...colour(level / 255), 255], 4 * level);
  return new Uint32Array(bytes.buffer);
}

// Paints a canvas pixel by pixel, a level from 0 to 255 each.
function paint(canvas, levels, colours) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let index = 0; index < pixels.length; index++) pixels[index] = colours[levels[index]];
  context.putImageData(image, 0, 0);
}

// A weight's colour, for a weight from -1 to 1: red below zero, white at zero, blue above.
function signColour(weight) {
  return css(mixed(WHITE, weight < 0 ? RED : BLUE, Math.min(1, Math.abs(weight))));
}

function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}
