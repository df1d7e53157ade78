// Random events on the page, `count` of them, in an order that `seed` gives. Returns the impossible
// states and errors that were found, and the last events before them.
async ([seed, count]) => {
    const faults = [], log = [];
    const random = () => { // mulberry32
        seed = (seed + 0x6d2b79f5) | 0;
        let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
    const pick = (values) => values[Math.floor(random() * values.length)];
    const paper = byId("drawing");
    const pointers = [
        { pointerId: 1, pointerType: "mouse", isPrimary: true },
        { pointerId: 5, pointerType: "touch", isPrimary: true },
        { pointerId: 6, pointerType: "touch", isPrimary: false },
        { pointerId: 7, pointerType: "pen", isPrimary: true },
    ].map((pointer) => ({ ...pointer, bubbles: true, cancelable: true, buttons: 0 }));
    const fire = (target, type, pointer, more) => {
        const box = target.getBoundingClientRect();
        const clientX = box.left + (1.2 * random() - 0.1) * box.width;
        const clientY = box.top + (1.2 * random() - 0.1) * box.height;
        const event = { ...pointer, clientX, clientY, ...more };
        target.dispatchEvent(new PointerEvent(type, event));
    };
    const press = (target, key, more) =>
        target.dispatchEvent(
            new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }),
        );
    const next = () => new Promise((done) => setTimeout(done, 0));
    const event = (target, name) =>
        new Promise((done) => target.addEventListener(name, done, { once: true }));
    const points = () => drawing.strokes.flat().length;
    const arrows = Object.keys(ARROWS);
    let depth = 0;

    // Each returns whether it may add ink, or null where it leaves no owner of the pen.
    const onPaper = {
        down() {
            const pointer = pick(pointers), button = pick([0, 0, 0, 2]);
            pointer.buttons = button ? 2 : 1;
            fire(paper, "pointerdown", pointer, { button });
            return button === 0;
        },
        move() {
            const pointer = pick(pointers);
            fire(paper, "pointermove", pointer);
            if (!(pointer.buttons & 1) && pen.owner?.id === pointer.pointerId) {
                faults.push("drawn without a button");
            }
            return Boolean(pointer.buttons & 1);
        },
        up() {
            const pointer = pick(pointers);
            pointer.buttons = 0;
            fire(paper, pick(["pointerup", "pointercancel", "lostpointercapture"]), pointer);
            return false;
        },
        lostUp() { pick(pointers).buttons = 0; return false; },
        menu() { fire(paper, "contextmenu", pick(pointers)); return false; },
        arrow() {
            const before = pen.owner;
            press(paper, pick(arrows), { altKey: random() < 0.1 });
            return before === KEYBOARD;
        },
        space() { press(paper, " ", { repeat: random() < 0.3 }); return true; },
        focus() { paper.focus(); return false; },
        leave() { pick([byId("undo"), byId("share"), byId("right")]).focus(); return false; },
        undoButton() { byId("undo").click(); return byId("undo").disabled ? false : null; },
        clear() { byId("clear").click(); return byId("clear").disabled ? false : null; },
        example() { pick([...byId("examples").children]).click(); return null; },
        channel() { press(pick(maps.flat()), " "); return false; },
        network() { pick([...byId("nets").querySelectorAll("input")]).click(); return false; },
        slider() {
            const slider = byId(pick(Object.keys(LIMITS)));
            slider.value = Math.round(40 * random() - 20);
            slider.dispatchEvent(new Event("input"));
            return false;
        },
        point() { fire(pick(maps.flat()), "pointermove", pointers[0]); return false; },
        look() {
            const wasOpen = byId("inside").open;
            press(pick(maps.flat()), "Enter");
            return byId("inside").open && !wasOpen ? null : false;
        },
        share() { byId("share").click(); return false; },
        theme() { byId("theme").click(); return false; },
    };
    const inDialog = {
        pixel() { press(byId("inside-map"), pick(arrows)); return false; },
        over() { fire(byId("inside-map"), "pointermove", pointers[0]); return false; },
        slide() { byId("slide").click(); return false; },
        channelOn() { byId("channel-on").click(); return false; },
        async close() {
            const closed = event(byId("inside"), "close");
            byId("inside").querySelector("form button").click();
            await closed;
            return false;
        },
        backdrop() { byId("inside").click(); return false; },
    };
    const anywhere = {
        undoKey() {
            const some = drawing.past.length;
            press(document.body, "z", { code: "KeyZ", ctrlKey: true });
            return some ? null : false;
        },
        async link() {
            const strokes = [[[random() * 200, 9].map(Math.floor), [60, 200]]];
            const net = pick([0, 1]), example = pick([null, null, 1, 5]);
            const choices = { ...CHOICES, net, right: pick([0, 3]) };
            const linked = { example, strokes, choices, off: new Set() };
            const hash = pick(["", "example=", hashOf(linked)]);
            if (location.hash.slice(1) === hash) return false;
            const opened = event(window, "hashchange");
            location.hash = hash;
            depth++;
            await opened;
            return null;
        },
        async back() {
            if (!depth) return false;
            depth--;
            const gone = event(window, "popstate");
            history.back();
            await gone;
            await next();
            return true;
        },
        resize() { dispatchEvent(new Event("resize")); return null; },
        blur() { dispatchEvent(new Event("blur")); return null; },
        image() { change(() => start({ picture: pictureOf("AP8BBQ") })); return null; },
        async wait() { await next(); return false; },
        frame() { frame(); return false; },
    };

    function check() {
        const open = byId("inside").open;
        const { strokes } = drawing, within = (n) => n >= 0 && n <= UNITS;
        const possible = {
            "strokes are whole numbers on the paper": strokes.every((stroke) =>
                stroke.length && stroke.flat().every((n) => n === Math.round(n) && within(n))),
            "the owner has a stroke": !pen.owner || strokes.length > 0,
            "nobody draws under a dialog": !open || !pen.owner,
            "the keyboard's pen is told": document.activeElement !== paper ||
                byId("pen").textContent.includes("down") === (pen.owner === KEYBOARD),
            "the dialog has a pixel": !open || (current && pointed &&
                pointed.x >= 0 && pointed.x < byId("inside-map").width),
            "the slide has a dialog": open || byId("slide").textContent === "Slide",
            "the pointed map exists": !pointed || maps[pointed.column][pointed.channel],
            "the columns are the network's": maps.length === network().columns.length,
            "the network is chosen":
                byId("nets").querySelectorAll("input")[drawing.choices.net].checked,
        };
        for (const [name, holds] of Object.entries(possible)) if (!holds) faults.push(name);
    }

    const dialog = { ...inDialog, ...anywhere }, page = { ...onPaper, ...onPaper, ...anywhere };
    const complain = (event) => faults.push(String(event.message ?? event.reason));
    addEventListener("error", complain);
    addEventListener("unhandledrejection", complain);
    for (let n = 0; n < count && !faults.length; n++) {
        const actions = byId("inside").open ? dialog : page;
        const name = random() < 0.4 && actions === page
            ? pick(["down", "move", "move", "up", "space", "arrow", "arrow"])
            : pick(Object.keys(actions));
        const before = points();
        log.push(name);
        const mayDraw = await actions[name]();
        const more = points() > before && name !== "undoKey";
        if (mayDraw === false && more) faults.push("ink from nowhere");
        if (mayDraw === null && pen.owner) faults.push("a stroke goes on");
        check();
    }
    // Whatever the state: the controls lead out of it.
    byId("inside").close();
    frame(); // until it is drawn, the buttons are those of the state before
    byId("clear").click();
    frame();
    if (!isEmpty(drawing) || pen.owner) faults.push("not cleared");
    await next();
    fire(paper, "pointerdown", { ...pointers[1], buttons: 1 });
    fire(paper, "pointermove", { ...pointers[1], buttons: 1 });
    fire(paper, "pointerup", { ...pointers[1], buttons: 0 });
    frame();
    if (drawing.strokes.length !== 1 || byId("undo").disabled) faults.push("not drawn");
    return [faults, log.slice(-15)];
}
