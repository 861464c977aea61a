// A cell's code with buttons that copy and insert it. The code is set as text, never as markup.

// A page that came over plain http from another machine has no clipboard.
const copy = async (code) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(code.textContent);
  getSelection().selectAllChildren(code);
  document.execCommand("copy");
  getSelection().removeAllRanges();
};

function render({ model, el }) {
  const root = make(el, "div", "phi-code");
  const head = make(root, "div", "phi-code-head");
  make(head, "span", "phi-code-title", "As a cell");
  const button = make(head, "button", "", "Copy");
  button.title = "Copy the cell that gives this same answer again; paste it into an empty cell";
  const insert = make(head, "button", "", "Insert as a cell below");
  insert.title = "Put the cell that gives this same answer again below this one; it is not run";
  insert.hidden = true;
  const all = make(head, "label", "", "every setting");
  all.title = "Say the settings that have their default values too";
  const box = document.createElement("input");
  box.type = "checkbox";
  all.prepend(box);
  const code = make(root, "pre");
  code.dir = "ltr";

  button.addEventListener("click", async () => {
    await copy(code);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  box.addEventListener("change", () => {
    model.set("everything", box.checked);
    model.save_changes();
  });

  // Only a notebook has a place for a cell; the page is known when this stands on it.
  const waiting = requestAnimationFrame(() => { insert.hidden = !root.closest(".jp-Notebook"); });

  const draw = () => {
    // JupyterLab 4.6 asks first where a cell of the notebook is not trusted: one that came with the file and was not run.
    insert.dataset.commandlinkerCommand = model.get("command");
    insert.dataset.commandlinkerArgs = model.get("arguments");
    code.textContent = model.get("text");
    box.checked = model.get("everything");
    root.hidden = !model.get("text");
  };
  for (const name of ["text", "arguments", "everything"]) model.on(`change:${name}`, draw);
  draw();
  return () => {
    cancelAnimationFrame(waiting);
    for (const name of ["text", "arguments", "everything"]) model.off(`change:${name}`, draw);
  };
}

export default { render };
