// The likeliest next tokens as a table with bars, one column a stage, and the answer so far above it.
// Whatever comes from a model is set as text, never as markup.

// Give a parent as many children as there are items, keeping those it has: the focus stays where it is.
const fit = (parent, items, add) => {
  while (parent.children.length > items.length) parent.lastChild.remove();
  while (parent.children.length < items.length) add(parent, parent.children.length);
};

const arrows = (event, buttons, back, on) => {
  const at = buttons.indexOf(document.activeElement);
  const to = event.key === on ? at + 1 : event.key === back ? at - 1 : -1;
  if (at < 0 || !buttons[to]) return;
  event.preventDefault();
  event.stopPropagation();
  buttons[to].focus();
};

function render({ model, el }) {
  const root = make(el, "div", "phi-explorer");
  const path = make(root, "div", "phi-path");
  path.setAttribute("role", "group");
  path.setAttribute("aria-label", "the answer so far; press a token to go back to it");
  path.dir = "auto";
  const table = make(root, "table", "phi-stages");
  const head = make(make(table, "thead"), "tr");
  const body = make(table, "tbody");
  const foot = make(table, "tfoot");

  // The notebook takes Enter and the arrows for its own when they come to the document: ours are caught before it.
  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !root.contains(event.target)) return;
    if (event.key === "Enter" || event.key === " ") event.stopPropagation();
    else if (path.contains(event.target)) arrows(event, [...path.children], "ArrowLeft", "ArrowRight");
    else arrows(event, [...body.querySelectorAll("button")], "ArrowUp", "ArrowDown");
  };
  addEventListener("keydown", onKey, true);

  // A button that waits is not disabled: it would lose the focus.
  const send = (content) => { if (!model.get("busy")) model.send(content); };

  const drawBars = (row, bars) => {
    fit(row, [0, ...bars], (parent) => {
      const cell = make(parent, "td");
      make(cell, "span", "phi-bar");
      make(cell, "span", "phi-number");
    });
    bars.forEach(([width, number], stage) => {
      const [bar, label] = row.children[stage + 1].children;
      bar.style.width = `calc(${width / 100} * (100% - 4px))`;
      label.textContent = number;
    });
  };

  const addRow = (parent, at) => {
    const row = make(parent, "tr");
    const name = make(make(row, "th"), "button");
    row.firstChild.scope = "row";
    name.addEventListener("click", () => send({ take: model.get("view").rows[at].id }));
  };
  const tail = make(foot, "tr", "phi-tail");
  make(tail, "th").scope = "row";
  tail.title = "All tokens that have no row above, together";
  const left = make(foot, "tr", "phi-left");
  make(left, "th", "", "mass left").scope = "row";
  make(left, "td");
  left.title = "How much of the probability top-p, top-k and min-p left, after the temperature";

  const draw = () => {
    const view = model.get("view");
    if (!view.rows) return;
    const busy = model.get("busy");
    root.toggleAttribute("aria-busy", busy);

    fit(path, view.path, (parent, at) => {
      const token = make(parent, "button");
      make(token, "span");
      make(token, "small");
      token.addEventListener("click", () => send({ go: at }));
    });
    view.path.forEach(({ text, kind, number }, at) => {
      const token = path.children[at];
      token.children[0].textContent = text;
      token.children[1].textContent = number;
      token.classList.toggle("phi-ahead", at >= view.at);
      token.classList.toggle("phi-kind", Boolean(kind));
      token.title = `${kind ? kind + "; " : ""}${number} % of the model's own probability; go to before this token`;
      if (at === view.at) token.setAttribute("aria-current", "step");
      else token.removeAttribute("aria-current");
    });

    fit(head, [0, ...view.heads], (parent, at) => {
      const cell = make(parent, "th", "", at ? "" : "next token");
      cell.scope = "col";
      if (at) make(cell, "div"), make(cell, "small");
    });
    view.heads.forEach(({ title, help, notes }, at) => {
      const [name, small] = head.children[at + 1].children;
      name.textContent = title.replace("temperature", "tempera\u00adture");  // may be broken
      name.title = help;
      fit(small, notes, (parent) => make(parent, "abbr"));
      notes.forEach(([text, meaning], place) => {
        small.children[place].textContent = text;
        small.children[place].title = meaning;
      });
    });

    fit(body, view.rows, addRow);
    view.rows.forEach((entry, at) => {
      const row = body.children[at];
      const button = row.firstChild.firstChild;
      button.textContent = entry.text;
      button.setAttribute("aria-disabled", busy);
      button.title = `${entry.kind ? entry.kind + "; " : ""}take this token`;
      button.setAttribute("aria-label", `take ${entry.text}${entry.kind ? ", " + entry.kind : ""}`);
      row.classList.toggle("phi-cut", Boolean(entry.cut));
      row.classList.toggle("phi-taken", entry.taken);
      button.classList.toggle("phi-kind", Boolean(entry.kind));
      drawBars(row, entry.bars);
    });

    tail.firstChild.textContent = view.tail.text;
    drawBars(tail, view.tail.bars);
    left.lastChild.textContent = view.left;
    left.lastChild.colSpan = view.heads.length;
  };

  model.on("change:view", draw);
  model.on("change:busy", draw);
  draw();
  return () => {
    model.off("change:view", draw);
    model.off("change:busy", draw);
    removeEventListener("keydown", onKey, true);
  };
}

export default { render };
