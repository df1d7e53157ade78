// Who draws: nobody, a pointer, or the keyboard's pen. Every event that begins, extends, ends or
// cancels a stroke goes through takeUp, extend, lift or takeBack. While there is an owner, the last
// stroke is the owner's. All other changes of the drawing go through `change`.

const KEYBOARD = { id: "keyboard", kind: "keyboard" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 6; // units that an arrow key moves the keyboard's pen

const pen = { owner: null, place: [UNITS / 2, UNITS / 2] }; // place: where the keyboard's pen is

// Begins a stroke, unless the present owner has precedence.
function takeUp(owner, point) {
  if (pen.owner && !yields(pen.owner, owner)) return;
  if (pen.owner?.kind === "touch" && owner.kind === "pen") takeBack(pen.owner.id); // a palm
  lift();
  pen.owner = owner;
  beginStroke(point);
  inkSegment(ink, point, point);
  paintPen();
  refresh();
}

// A pointer has precedence over the keyboard, a stylus over touch, and a new first finger over one
// whose pointerup never came. Further fingers draw nothing, nor does a hand beside a stylus.
function yields(owner, other) {
  if (owner.kind === "keyboard") return true;
  if (other.kind === "keyboard") return false;
  return owner.kind === other.kind ? other.primary : owner.kind !== "pen";
}

function extend(id, point) {
  if (pen.owner?.id !== id) return;
  const before = drawing.strokes.at(-1).at(-1);
  if (extendStroke(point)) inkSegment(ink, before, point);
  refresh();
}

// Ends the owner's stroke and keeps it.
function lift(id = pen.owner?.id) {
  if (!pen.owner || pen.owner.id !== id) return;
  pen.owner = null;
  paintPen();
  refresh();
}

// Cancels the owner's stroke: it is removed.
function takeBack(id) {
  if (pen.owner?.id === id) change(undo);
}

// Changes the drawing as a whole. Ends a stroke that is being drawn first.
function change(action) {
  lift();
  action();
  ink = inkOf(drawing.strokes, drawing.picture);
  refresh();
}

// Shows the keyboard's pen, and tells a screen reader what has changed.
function paintPen() {
  const [x, y] = pen.place, down = pen.owner === KEYBOARD;
  const cursor = byId("cursor"), share = (value) => `${Math.round((100 * value) / UNITS)} %`;
  cursor.setAttribute("cx", x);
  cursor.setAttribute("cy", y);
  cursor.classList.toggle("down", down);
  const state = `Pen ${down ? "down" : "up"}, ${share(x)} from the left, ${share(y)} from the top`;
  if (document.activeElement === byId("drawing")) say("pen", state);
}

function listenToPen() {
  const canvas = byId("drawing");
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true, focusVisible: false });
    const { pointerId: id, pointerType: kind, isPrimary: primary } = event;
    takeUp({ id, kind, primary }, pointOf(event));
    try {
      canvas.setPointerCapture(id);
    } catch {
      // the pointer is gone already
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!(event.buttons & 1)) lift(event.pointerId); // its pointerup never came
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) extend(event.pointerId, pointOf(each));
  });
  for (const name of ["pointerup", "lostpointercapture"]) {
    canvas.addEventListener(name, (event) => lift(event.pointerId));
  }
  canvas.addEventListener("pointercancel", (event) => takeBack(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => {
    const { id, kind } = pen.owner ?? {};
    if (kind === "touch") event.preventDefault(); // a finger that rests draws on
    else if (id !== KEYBOARD.id && id && drawing.strokes.at(-1).length === 1) takeBack(id);
    else lift(); // the menu takes the pointerup; a press that only opened it was no stroke
  });
  canvas.addEventListener("focus", paintPen);
  canvas.addEventListener("blur", () => lift(KEYBOARD.id));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = ARROWS[event.key];
    if (!step && event.key !== " ") return;
    event.preventDefault();
    if (step) moveKeyboardPen(step);
    else if (!event.repeat) pen.owner === KEYBOARD ? lift() : takeUp(KEYBOARD, pen.place);
  });
  for (const name of ["blur", "resize", "pagehide"]) addEventListener(name, () => lift());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) lift();
  });
}

function moveKeyboardPen(step) {
  pen.place = pen.place.map((value, axis) =>
    Math.max(0, Math.min(UNITS, value + STEP * step[axis])),
  );
  extend(KEYBOARD.id, pen.place);
  paintPen();
}

// Where a pointer is on the paper, in units.
function pointOf(event) {
  const box = byId("drawing").getBoundingClientRect();
  const along = (value, begin, length) =>
    Math.max(0, Math.min(UNITS, Math.round(((value - begin) / length) * UNITS)));
  return [along(event.clientX, box.left, box.width), along(event.clientY, box.top, box.height)];
}
