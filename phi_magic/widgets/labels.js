// Names for screen readers, where ipywidgets gives none: a slider's handle and its figure get that of the label beside
// them, and the pictures on buttons are no part of a button's name.

const set = (element, name, value) => {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
};

const label = (root) => {
  for (const row of root.querySelectorAll(".widget-inline-hbox")) {
    const name = row.querySelector(".widget-label")?.textContent ?? "";
    for (const handle of row.querySelectorAll(".noUi-handle")) set(handle, "aria-label", name);
    for (const figure of row.querySelectorAll(".widget-readout")) {
      set(figure, "role", "textbox");
      set(figure, "aria-label", name);
    }
  }
  for (const picture of root.querySelectorAll("button > i")) set(picture, "aria-hidden", "true");
};

function render({ el }) {
  let observer, waiting;
  const begin = () => {
    const root = el.closest(".widget-vbox");  // not there before the widget is on the page
    if (!root) { waiting = requestAnimationFrame(begin); return; }
    label(root);
    observer = new MutationObserver(() => label(root));
    observer.observe(root, { childList: true, subtree: true });
  };
  begin();
  return () => {
    cancelAnimationFrame(waiting);
    observer?.disconnect();
  };
}

export default { render };
