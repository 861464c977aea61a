// What ipywidgets leaves out for those who listen to a page or go through it by keyboard.

const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", "Enter", " "];
const TAKES_KEYS = "input, textarea, select, button, [contenteditable]";

// The pictures on buttons are no part of a button's name; a field has the hint of its label.
const name = (root, hints) => {
  for (const picture of root.querySelectorAll("button > i")) picture.setAttribute("aria-hidden", "true");
  for (const label of root.querySelectorAll("label.widget-label")) {
    const field = label.parentElement.querySelector("input, textarea");
    const hint = hints[label.textContent] ?? label.title;
    if (field && hint) field.title = label.title = hint;
  }
};

function render({ model, el }) {
  let root, observer, waiting, last;

  // A notebook takes keys that are meant for a slider or a button: they are caught before they come to the document.
  const onKey = (event) => {
    if (!root.contains(event.target) || event.altKey || event.shiftKey) return;
    if (!(event.ctrlKey || event.metaKey)) {
      if (KEYS.includes(event.key)) event.stopPropagation();
    } else if (event.key === "Enter" && model.get("enters")) {
      event.preventDefault();
      event.stopPropagation();
      event.target.blur();  // a field that is left hands over what was typed into it
      event.target.focus();
      model.send({ key: "Ctrl+Enter" });
    }
  };

  // A button that is disabled while its work is done loses the focus: it gets it back when it can be pressed again,
  // unless the person has gone elsewhere.
  const onFocus = (event) => {
    last = event.target;
    // A field offers only what begins as its text does: empty it offers all, until it is left.
    if (last.matches("input[list]")) { last.placeholder = last.value; last.value = ""; }
  };
  const onLeave = ({ target }) => { if (target.matches("input[list]")) target.value ||= target.placeholder; };
  const onPointer = (event) => { if (!root.contains(event.target)) last = null; };
  const refocus = () => {
    const lost = last?.isConnected && last.matches("button:enabled") && !document.activeElement?.matches(TAKES_KEYS);
    if (lost) last.focus({ preventScroll: true });
  };

  const begin = () => {
    root = el.closest(".widget-vbox");  // not there before the widget is on the page
    if (!root) { waiting = requestAnimationFrame(begin); return; }
    name(root, model.get("hints"));
    // What a saved notebook shows in place of the widget is hidden as long as the widget is here.
    const live = [...root.classList].find((one) => one.startsWith("phi-live-"));
    const style = el.appendChild(document.createElement("style"));
    if (live) style.textContent = `.${live.replace("live", "saved")} { display: none; }`;
    observer = new MutationObserver((changes) => {
      if (changes.some((change) => change.type === "childList")) name(root, model.get("hints"));
      if (changes.some((change) => change.type === "attributes")) refocus();
    });
    observer.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] });
    root.addEventListener("focusin", onFocus);
    root.addEventListener("focusout", onLeave);
    addEventListener("pointerdown", onPointer, true);
    addEventListener("keydown", onKey, true);
  };
  begin();
  return () => {
    cancelAnimationFrame(waiting);
    observer?.disconnect();
    root?.removeEventListener("focusin", onFocus);
    root?.removeEventListener("focusout", onLeave);
    removeEventListener("pointerdown", onPointer, true);
    removeEventListener("keydown", onKey, true);
  };
}

export default { render };
