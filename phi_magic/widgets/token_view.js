// One answer's tokens; a token's menu holds what else could have stood there. Taking one of these begins a branch.
// Whatever comes from a model is set as text, never as markup.

function render({ model, el }) {
  const root = make(el, "div", "phi-branch");
  const head = make(root, "div", "phi-branch-head");
  const label = make(head, "span", "phi-branch-label");
  const plainly = make(head, "button", "", "Plain text");
  plainly.title = "Show the answer without its tokens, to read or to copy";
  plainly.setAttribute("aria-pressed", "false");
  const choices = make(head, "span", "phi-branch-choices");
  const text = make(root, "div", "phi-branch-text");
  text.setAttribute("role", "group");
  text.setAttribute("aria-label", "tokens; arrows move, Enter opens what else could have stood there");
  text.dir = "auto";
  const plain = make(root, "pre", "phi-branch-plain");
  plain.dir = "auto";
  plain.hidden = true;
  const legend = make(root, "div", "phi-legend");
  text.before(legend);  // where no menu covers it
  const scale = make(legend, "select");
  scale.setAttribute("aria-label", "what the shades show");
  scale.title = "In bits, answers can be compared; by its place, each token is told apart from the others of this answer";
  for (const [name, said] of Object.entries(model.get("scales"))) make(scale, "option", "", said).value = name;
  const strip = make(legend, "span", "phi-legend-strip");
  make(legend, "span", "", "bits");
  const menu = make(root, "div", "phi-menu");
  menu.setAttribute("role", "menu");
  menu.popover = "manual";  // above everything: an output clips what hangs out of it
  let open = -1;

  const buttons = () => [...text.querySelectorAll("button")];
  const items = () => [...menu.querySelectorAll("button")];

  const shut = () => {
    if (open >= 0) buttons()[open]?.setAttribute("aria-expanded", "false");
    open = -1;
    menu.hidePopover();
  };

  const place = () => {
    const button = buttons()[open];
    if (!button) return;
    const token = button.getBoundingClientRect();
    const below = token.bottom + menu.offsetHeight < innerHeight || token.top < menu.offsetHeight;
    menu.style.top = `${below ? token.bottom : token.top - menu.offsetHeight}px`;
    menu.style.left = `${Math.max(0, Math.min(token.left, document.documentElement.clientWidth - menu.offsetWidth))}px`;
  };

  const show = (at) => {
    if (open === at) return;
    shut();
    const token = model.get("tokens")[at];
    const button = buttons()[at];
    if (!token || !token.lines) return;
    open = at;
    menu.replaceChildren();
    token.lines.forEach((line) => make(menu, "div", "phi-menu-line", line));
    token.top.forEach((other, place) => {
      const item = make(menu, "button", other.id === token.id ? "phi-taken" : "");
      item.setAttribute("role", "menuitem");
      item.tabIndex = -1;
      item.disabled = model.get("busy") || other.ends || other.id === token.id;
      make(item, "span", "phi-menu-place", `${place + 1}.`);
      make(item, "span", other.kind ? "phi-kind" : "", other.text);
      make(item, "span", "phi-menu-numbers", other.numbers);
      item.title = other.ends ? "ends the answer" : other.id === token.id ? "this token" : "branch here";
      item.addEventListener("click", () => {
        model.send({ at, take: other.id });
        shut();
        button.focus();
      });
    });
    menu.showPopover();
    button.setAttribute("aria-expanded", "true");
    place();
  };

  const move = (event, all, to) => {
    event.preventDefault();
    event.stopPropagation();
    const target = all[Math.max(0, Math.min(to, all.length - 1))];
    all.forEach((one) => { if (text.contains(one)) one.tabIndex = one === target ? 0 : -1; });
    target?.focus();
  };

  const onText = (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement);
    if (event.key === "ArrowRight") move(event, all, at + 1);
    else if (event.key === "ArrowLeft") move(event, all, at - 1);
    else if (event.key === "Home") move(event, all, 0);
    else if (event.key === "End") move(event, all, all.length - 1);
    else if (event.key === "Escape") { event.stopPropagation(); shut(); }
    else if (["Enter", " ", "ArrowDown"].includes(event.key)) {
      show(at);
      move(event, items().filter((item) => !item.disabled), 0);
    }
  };
  const onMenu = (event) => {
    const all = items().filter((item) => !item.disabled);
    const at = all.indexOf(document.activeElement);
    if (event.key === "ArrowDown") move(event, all, at + 1);
    else if (event.key === "ArrowUp") move(event, all, at - 1);
    else if (event.key === "Escape") {
      event.stopPropagation();
      const button = buttons()[open];
      shut();
      button?.focus();
      shut();
    } else if (event.key === "Enter" || event.key === " ") event.stopPropagation();
  };
  // The notebook takes Enter and the arrows for its own when they come to the document: ours are caught before it.
  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (text.contains(event.target)) onText(event);
    else if (menu.contains(event.target)) onMenu(event);
  };
  addEventListener("keydown", onKey, true);
  text.addEventListener("focusin", (event) => show(buttons().indexOf(event.target)));
  text.addEventListener("pointerover", (event) => {
    const at = buttons().indexOf(event.target.closest("button"));
    if (at >= 0) show(at);
  });
  root.addEventListener("pointerleave", () => { if (!root.contains(document.activeElement)) shut(); });
  root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) shut(); });

  plainly.addEventListener("click", () => {
    plain.hidden = !plain.hidden;
    text.hidden = legend.hidden = !plain.hidden;
    plainly.setAttribute("aria-pressed", String(!plain.hidden));
  });
  scale.addEventListener("change", () => {
    model.set("scale", scale.value);
    model.save_changes();
  });

  const drawHead = () => {
    label.textContent = model.get("label");
    plain.textContent = model.get("text");
    scale.value = model.get("scale");
    choices.replaceChildren();
    for (const [name, [said, hint]] of Object.entries(model.get("choices"))) {
      const button = make(choices, "button", "", said);
      button.title = hint;
      button.disabled = model.get("busy");
      button.addEventListener("click", () => model.send({ choose: name }));
    }
    strip.replaceChildren();
    for (const [shade, said] of model.get("legend")[model.get("scale")] ?? []) {
      make(strip, "span", "", said).style.backgroundColor = shade;
    }
  };

  // Of a branch the new tokens are brought into view; what grows below the page's edge is followed as long as its end
  // was in view.
  const inView = (element) => {
    const { top, bottom } = element.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  };
  let arrived = false;
  const follow = (all, wasInView) => {
    const begun = model.get("begun");
    if (!arrived && begun < all.length && Object.keys(model.get("choices")).length) {
      arrived = true;
      all[begun].scrollIntoView({ block: "center" });
    } else if (wasInView && model.get("busy")) all.at(-1)?.scrollIntoView({ block: "nearest" });
  };

  const draw = () => {
    drawHead();
    const tokens = model.get("tokens");
    const old = buttons();
    const wasInView = old.length > 0 && inView(old.at(-1));
    while (old.length > tokens.length) {
      const last = old.pop();
      if (last.nextSibling?.nodeName === "BR") last.nextSibling.remove();
      last.remove();
    }
    tokens.forEach((token, at) => {
      let button = old[at];
      if (!button) {
        button = make(text, "button");
        button.tabIndex = at ? -1 : 0;
        button.setAttribute("aria-haspopup", "menu");
        button.setAttribute("aria-expanded", "false");
        make(button, "bdi");
        make(button, "small");
        if (token.breaks) make(text, "br");
      }
      button.children[0].textContent = token.text;
      button.children[1].textContent = token.number;
      button.setAttribute("aria-label", `${token.text}, ${token.number} percent`);
      button.style.backgroundColor = token.shade[model.get("scale")];
      button.className = [token.kind ? "phi-kind" : "", at < model.get("begun") ? "phi-begun" : ""].join(" ").trim();
    });
    if (open >= 0) { const at = open; shut(); if (model.get("busy") === false) show(at); }
    if (text.isConnected) follow(buttons(), wasInView);
  };

  const names = ["tokens", "label", "busy", "choices", "scale"];
  for (const name of names) model.on(`change:${name}`, draw);
  addEventListener("scroll", place, true);
  draw();
  requestAnimationFrame(() => follow(buttons(), false));  // when it has its place on the page
  return () => {
    for (const name of names) model.off(`change:${name}`, draw);
    removeEventListener("scroll", place, true);
    removeEventListener("keydown", onKey, true);
  };
}

export default { render };
