// The likeliest next tokens as a table with bars, one column a stage, and the answer so far above it.
// Whatever comes from a model is set as text, never as markup.

const make = (parent, tag, name, text = "") => {
  const element = parent.appendChild(document.createElement(tag));
  if (name) element.className = name;
  element.textContent = text;
  return element;
};

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

  const addRow = (parent, at) => {
    const row = make(parent, "tr");
    const name = make(make(row, "th"), "button");
    row.firstChild.scope = "row";
    name.addEventListener("click", () => model.send({ take: model.get("view").rows[at].id }));
    for (let stage = 0; stage < 4; stage++) {
      const cell = make(row, "td");
      make(cell, "span", "phi-bar");
      make(cell, "span", "phi-number");
    }
  };

  const draw = () => {
    const view = model.get("view");
    if (!view.rows) return;
    const busy = model.get("busy");
    root.toggleAttribute("aria-busy", busy);

    fit(path, view.path, (parent, at) =>
      make(parent, "button").addEventListener("click", () => model.send({ go: at })));
    view.path.forEach(({ text, kind }, at) => {
      const token = path.children[at];
      token.textContent = text;
      token.classList.toggle("phi-ahead", at >= view.at);
      token.classList.toggle("phi-kind", Boolean(kind));
      token.title = `${kind ? kind + ": " : ""}go to before this token`;
      if (at === view.at) token.setAttribute("aria-current", "step");
      else token.removeAttribute("aria-current");
    });

    fit(head, view.heads, (parent) => {
      const cell = make(parent, "th");
      cell.scope = "col";
      make(cell, "div");
      make(cell, "small");
    });
    view.heads.forEach(([title, note], at) => {
      head.children[at].children[0].textContent = title.replace("temperature", "tempera\u00adture");  // may be broken
      head.children[at].children[1].textContent = note;
    });

    fit(body, view.rows, addRow);
    view.rows.forEach((entry, at) => {
      const row = body.children[at];
      const button = row.firstChild.firstChild;
      button.textContent = entry.text;
      button.disabled = busy;
      button.title = `${entry.kind ? entry.kind + "; " : ""}take this token`;
      button.setAttribute("aria-label", `take ${entry.text}${entry.kind ? ", " + entry.kind : ""}`);
      row.classList.toggle("phi-cut", Boolean(entry.cut));
      row.classList.toggle("phi-taken", entry.taken);
      button.classList.toggle("phi-kind", Boolean(entry.kind));
      entry.bars.forEach(([width, number], stage) => {
        const [bar, label] = row.children[stage + 1].children;
        bar.style.width = `${0.94 * width}%`;
        label.textContent = number;
      });
    });

    fit(foot, view.rest, (parent) => {
      const row = make(parent, "tr");
      make(row, "th").scope = "row";
      for (let stage = 0; stage < 4; stage++) make(row, "td");
    });
    view.rest.forEach((texts, at) => {
      const cells = foot.children[at].children;
      const whole = texts.slice(1, 4).every((text) => !text);  // one text for all columns
      texts.forEach((text, column) => {
        cells[column].textContent = text;
        cells[column].hidden = whole && column > 0 && column < 4;
      });
      cells[4].colSpan = whole ? 4 : 1;
    });
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
