// The body of a function (element, trigger, props, watch): texts are set as texts, never as markup.
// Marks lie over the picture above the sheet; a mark and its place in the legend light up together.
const NS = "http://www.w3.org/2000/svg";
const NO_FACTS = { title: "", rows: [], marks: [], aspect: 1, note: "" };
const find = (selector) => element.querySelector(selector);
const [title, list, note] = [find(".duet-title"), find("dl"), find(".duet-note")];
const [picture, legend] = [find(".duet-marks > div"), find(".duet-legend")];

function make(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function badge(mark, number) {
  const made = make("b", number);
  made.style.background = mark.colour;
  return made;
}

function frame(mark, number) {
  const made = make("div");
  const [left, top, right, bottom] = mark.box.map((share) => share * 100);
  Object.assign(made.style, {
    left: `${left}%`,
    top: `${top}%`,
    width: `${right - left}%`,
    height: `${bottom - top}%`,
    color: mark.colour,
  });
  made.append(badge(mark, number));
  return made;
}

// A small copy of the drawing in which the lines that the mark answers stand out.
function drawn(mark) {
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", "-0.06 -0.06 1.12 1.12");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", mark.lines.length > 1 ? "lines of the drawing" : "a line of the drawing");
  mark.drawing.forEach((stroke, index) => {
    const line = document.createElementNS(NS, "polyline");
    line.setAttribute("points", stroke.map(([x, y]) => `${x},${y}`).join(" "));
    if (mark.lines.includes(index)) line.classList.add("matched");
    svg.append(line);
  });
  return svg;
}

function show() {
  const facts = props.value ? JSON.parse(props.value) : NO_FACTS;
  title.textContent = title.title = facts.title;
  note.textContent = facts.note;
  list.replaceChildren();
  for (const [name, text] of facts.rows) {
    const detail = make("dd", text);
    detail.title = text; // it may be cut short
    list.append(make("dt", name), detail);
  }
  element.style.setProperty("--aspect", facts.aspect);
  picture.replaceChildren();
  legend.replaceChildren();
  facts.marks.forEach((mark, index) => {
    const framed = frame(mark, index + 1);
    const entry = make("li");
    entry.style.color = mark.colour;
    entry.append(badge(mark, index + 1), mark.about ? make("span", mark.about) : drawn(mark));
    entry.addEventListener("pointerenter", () => framed.classList.add("lit"));
    entry.addEventListener("pointerleave", () => framed.classList.remove("lit"));
    picture.append(framed);
    legend.append(entry);
  });
}

watch("value", show);
show();
