// A slider and a field for each setting. Only what a person does here is sent: `moved` is set by the events "input" and
// "change", which a browser never fires for a value that a script has set.

function render({ model, el }) {
  const root = make(el, "div", "phi-sliders");
  const controls = new Map();

  const move = (name, value) => {
    const number = (model.get("moved")[name]?.number ?? 0) + 1;
    model.set("moved", { ...model.get("moved"), [name]: { value, number } });
    model.save_changes();
  };

  for (const { name, label, help, min, max, step } of model.get("rows")) {
    const row = make(root, "div", "phi-slider");
    row.title = help;
    make(row, "span", "phi-slider-name", label);
    const track = make(row, "span", "phi-slider-track");
    const slider = make(track, "input");
    Object.assign(slider, { type: "range", min, max, step });
    const ends = make(track, "span", "phi-slider-ends");
    for (const end of [min, max]) make(ends, "small", "", String(end));
    const field = make(row, "input");
    Object.assign(field, { type: "text", inputMode: "decimal", spellcheck: false });
    for (const input of [slider, field]) input.setAttribute("aria-label", label);
    slider.addEventListener("input", () => {
      field.value = slider.value;
      move(name, slider.value);
    });
    field.addEventListener("change", () => move(name, field.value));
    controls.set(name, { slider, field });
  }

  // While a move is under way the page knows better than the kernel, whose answer to an earlier move may still come.
  const draw = () => {
    const moved = model.get("moved"), heard = model.get("heard");
    for (const [name, { slider, field }] of controls) {
      if ((moved[name]?.number ?? 0) !== (heard[name]?.number ?? 0)) continue;
      const value = String(model.get("values")[name]);
      slider.value = value;
      slider.setAttribute("aria-valuetext", value);
      field.value = value;
    }
  };

  for (const name of ["values", "heard"]) model.on(`change:${name}`, draw);
  draw();
  return () => {
    for (const name of ["values", "heard"]) model.off(`change:${name}`, draw);
  };
}

export default { render };
