// The body of a function (element, trigger, props, watch): strokes in the unit square, as JSON.
// A stroke is a list of [x, y], or of [x, y, pressure] where it came from a pen.
// Over a picture, points are [x, y, breadth of the brush], and the JSON also names the picture.
const PAUSE_MS = 350; // pause in drawing before the search starts
const MIN_STEP = 0.003;
const ERASER = 0.025;
const LINE = 0.011; // width of a line over the side of the canvas
const HISTORY = 200;
const KEY_STEP = 0.02;

const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d");
const hint = element.querySelector(".duet-hint");
const full = element.querySelector(".duet-full");
const photo = element.querySelector("img"); // only where a picture is painted over
const root = element.querySelector(".duet-canvas");
const brush = element.querySelector("input");
const tool = Object.fromEntries(
  [...element.querySelectorAll("[data-tool]")].map((button) => [button.dataset.tool, button]),
);

let strokes = []; // never changed in place: the history holds the same arrays
let past = [];
let future = [];
let current = null;
let erasing = false;
let beforeErasing = null;
let sent = "";
let timer = 0;
let shape = [1, 1]; // sides of the canvas over the longer one
let subject = null; // the picture: its name, and whether all but what is painted is meant
const cursor = { x: 0.5, y: 0.5, visible: false };

const clamp = (value) => Math.min(1, Math.max(0, Math.round(value * 1e4) / 1e4));
const numPoints = () => strokes.reduce((sum, stroke) => sum + stroke.length, 0);

function fit() {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const sides = [width, height].map((side) => Math.round(side * scale));
  if (canvas.width !== sides[0] || canvas.height !== sides[1]) {
    [canvas.width, canvas.height] = sides;
  }
  const longer = Math.max(width, height);
  shape = [width / longer, height / longer];
  pen.setTransform(longer * scale, 0, 0, longer * scale, 0, 0);
}

function redraw() {
  if (!canvas.clientWidth) return;
  fit();
  pen.clearRect(0, 0, 1, 1);
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = pen.fillStyle = getComputedStyle(canvas).color;
  const all = current ? [...strokes, current] : strokes;
  if (subject?.outside && all.length) {
    pen.fillRect(0, 0, 1, 1);
    pen.globalCompositeOperation = "destination-out";
  }
  all.forEach(drawStroke);
  pen.globalCompositeOperation = "source-over";
  if (cursor.visible && document.activeElement === canvas) drawCursor();
  if (!photo) hint.hidden = all.length > 0;
  tool.undo.disabled = past.length === 0;
  tool.redo.disabled = future.length === 0;
  tool.clear.disabled = strokes.length === 0;
}

function widthOf(stroke) {
  const pressures = stroke.filter((point) => point.length > 2).map((point) => point[2]);
  const pressure = pressures.length
    ? pressures.reduce((sum, value) => sum + value, 0) / pressures.length
    : 0.5;
  if (!photo) return LINE * (0.5 + pressure);
  return props.finest * (props.broadest / props.finest) ** pressure;
}

const placed = (point) => [point[0] * shape[0], point[1] * shape[1]];

function drawStroke(stroke) {
  const path = stroke.map(placed);
  pen.lineWidth = widthOf(stroke);
  pen.beginPath();
  const [first] = path;
  if (path.length === 1) {
    pen.arc(first[0], first[1], pen.lineWidth / 2, 0, 7);
    pen.fill();
    return;
  }
  pen.moveTo(first[0], first[1]);
  for (let i = 1; i < path.length - 1; i += 1) {
    const [x, y] = path[i];
    pen.quadraticCurveTo(x, y, (x + path[i + 1][0]) / 2, (y + path[i + 1][1]) / 2);
  }
  const last = path[path.length - 1];
  pen.lineTo(last[0], last[1]);
  pen.stroke();
}

function drawCursor() {
  pen.save();
  pen.lineWidth = 0.003;
  pen.globalAlpha = 0.6;
  pen.beginPath();
  const radius = photo ? widthOf([keyboardPoint()]) / 2 : 0.02;
  pen.arc(...placed([cursor.x, cursor.y]), current ? radius * 0.6 : radius, 0, 7);
  pen.stroke();
  pen.restore();
}

function valueOf() {
  if (photo) return JSON.stringify({ ...subject, strokes });
  return strokes.length ? JSON.stringify(strokes) : "";
}

function send() {
  const text = valueOf();
  if (text === sent) return;
  sent = text;
  props.value = text;
  trigger("input");
}

function announce() {
  clearTimeout(timer);
  if (photo) send(); // nothing waits for a pause
  else timer = setTimeout(send, PAUSE_MS);
}

function leave() {
  if (current) return;
  clearTimeout(timer);
  send();
}

function commit(next) {
  past = [...past.slice(1 - HISTORY), strokes];
  future = [];
  strokes = next;
  full.textContent = "";
  redraw();
  announce();
}

function step(from, to) {
  if (current || !from.length) return;
  to.push(strokes);
  strokes = from.pop();
  redraw();
  announce();
}

const undo = () => step(past, future);
const redo = () => step(future, past);

function clear() {
  current = null;
  if (strokes.length) commit([]);
}

function setErasing(value) {
  erasing = value;
  tool.erase.setAttribute("aria-pressed", String(value));
  canvas.classList.toggle("erasing", value);
}

function begin(point) {
  if (strokes.length >= props.max_strokes || numPoints() >= props.max_points) {
    full.textContent = "There is no room for more; clear or erase something.";
    return;
  }
  clearTimeout(timer);
  current = [point];
  redraw();
}

function extend(point) {
  const [[x, y], [nextX, nextY]] = [current[current.length - 1], point].map(placed);
  if (Math.hypot(nextX - x, nextY - y) < MIN_STEP) return;
  if (numPoints() + current.length < props.max_points) current.push(point);
}

function finish() {
  if (!current) return;
  const stroke = current;
  current = null;
  commit([...strokes, stroke]);
}

function distance(point, from, to) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const square = dx * dx + dy * dy;
  const along = square ? ((point[0] - from[0]) * dx + (point[1] - from[1]) * dy) / square : 0;
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(point[0] - from[0] - t * dx, point[1] - from[1] - t * dy);
}

function isTouched(stroke, point) {
  const [path, at] = [stroke.map(placed), placed(point)];
  const reach = photo ? Math.max(ERASER / 2, widthOf(stroke) / 2) : ERASER;
  return path.some((to, i) => distance(at, path[Math.max(0, i - 1)], to) < reach);
}

function erase(point) {
  const left = strokes.filter((stroke) => !isTouched(stroke, point));
  if (left.length === strokes.length) return;
  strokes = left;
  redraw();
}

function endErasing() {
  const before = beforeErasing;
  beforeErasing = null;
  if (!before || before.length === strokes.length) return;
  const left = strokes;
  strokes = before;
  commit(left);
}

const withBreadth = (x, y, pressure) => [x, y, clamp(Number(brush.value) + pressure - 0.5)];
const keyboardPoint = () => (photo ? withBreadth(cursor.x, cursor.y, 0.5) : [cursor.x, cursor.y]);

function pointOf(event) {
  const box = canvas.getBoundingClientRect();
  const x = clamp((event.clientX - box.left) / box.width);
  const y = clamp((event.clientY - box.top) / box.height);
  if (photo) return withBreadth(x, y, event.pointerType === "pen" ? event.pressure || 0.5 : 0.5);
  // A stroke keeps one shape: with pressure throughout, or without.
  const isPen = event.pointerType === "pen" && (!current || current[0].length === 3);
  return isPen ? [x, y, clamp(event.pressure || 0.5)] : [x, y];
}

canvas.addEventListener("pointerdown", (event) => {
  const isEraserEnd = event.button === 5;
  if (!event.isPrimary || (event.button !== 0 && !isEraserEnd)) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  cursor.visible = false;
  try {
    canvas.setPointerCapture(event.pointerId);
  } catch {
    // The pointer is already released, or synthetic: drawing works without the capture.
  }
  if (current) finish();
  if (erasing || isEraserEnd) {
    beforeErasing = strokes;
    erase(pointOf(event));
  } else {
    begin(pointOf(event));
  }
});

canvas.addEventListener("pointermove", (event) => {
  if (!event.isPrimary || (!beforeErasing && !current) || cursor.visible) return;
  const coalesced = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const move of coalesced.length ? coalesced : [event]) {
    if (beforeErasing) erase(pointOf(move));
    else extend(pointOf(move));
  }
  redraw();
});

for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    if (!event.isPrimary || cursor.visible) return;
    endErasing();
    finish();
  });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function moveCursor(event) {
  const [dx, dy] = ARROWS[event.key];
  const size = event.shiftKey ? KEY_STEP / 4 : KEY_STEP;
  cursor.visible = true;
  cursor.x = clamp(cursor.x + dx * size);
  cursor.y = clamp(cursor.y + dy * size);
  if (current) extend(keyboardPoint());
  redraw();
}

function toggleKeyboardPen() {
  cursor.visible = true;
  if (current) finish();
  else begin(keyboardPoint());
}

function shortcut(event) {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return event.shiftKey ? redo : undo;
    return key === "y" ? redo : null;
  }
  if (event.altKey) return null;
  if (key === "delete" || key === "backspace") return clear;
  if (key === "e") return () => setErasing(!erasing);
  if (event.target !== canvas) return null;
  if (key === "escape") return finish;
  if (key === " ") return toggleKeyboardPen;
  return event.key in ARROWS ? () => moveCursor(event) : null;
}

element.addEventListener("keydown", (event) => {
  const action = shortcut(event);
  if (!action) return;
  event.preventDefault();
  action();
});

// Whoever goes on to a button means what is drawn by then: not every browser moves the focus there.
canvas.addEventListener("blur", () => {
  if (cursor.visible) finish();
  leave();
  redraw();
});
document.addEventListener(
  "pointerdown",
  (event) => {
    if (!element.contains(event.target)) leave();
  },
  true,
);

for (const [name, action] of Object.entries({ undo, redo, clear })) {
  tool[name].addEventListener("click", () => {
    action();
    // A button that is disabled loses the keyboard, and shortcuts with it.
    if (tool[name].disabled) canvas.focus({ preventScroll: true });
  });
}
tool.erase.addEventListener("click", () => setErasing(!erasing));

function load() {
  const text = props.value || "";
  if (text === sent) return;
  clearTimeout(timer);
  current = null;
  setErasing(false);
  const value = text ? JSON.parse(text) : [];
  if (photo) show(value);
  else past = [...past.slice(1 - HISTORY), strokes];
  future = [];
  strokes = photo ? value.strokes || [] : value;
  sent = text;
  redraw();
}

function show({ picture = "", address = "", outside = false }) {
  const isOther = picture !== subject?.picture;
  subject = isOther ? { picture, address, outside } : { ...subject, outside };
  if (isOther) {
    past = [];
    root.dataset.state = picture ? "waiting" : "empty";
    if (picture) photo.src = address;
    else photo.removeAttribute("src");
  }
  tell();
}

function tell() {
  hint.textContent = {
    empty: "Choose a picture first; then paint over it.",
    waiting: "",
    ready: `Paint over what is to ${subject.outside ? "stay" : "be drawn anew"}.`,
    unseen: "This browser cannot show the picture; name the part in words.",
  }[root.dataset.state];
}

photo?.addEventListener("load", () => {
  subject.size = [photo.naturalWidth, photo.naturalHeight];
  root.style.setProperty("--aspect", photo.naturalWidth / photo.naturalHeight);
  root.dataset.state = "ready";
  tell();
  redraw();
});

photo?.addEventListener("error", () => {
  root.dataset.state = "unseen";
  tell();
});

watch("value", load);
new ResizeObserver(redraw).observe(canvas);
if (photo) show({});
load();
redraw();
