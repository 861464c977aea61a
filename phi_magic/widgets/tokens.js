// One answer's tokens; a token's menu holds what else could have stood there. Taking one of these begins a branch.
// Whatever comes from a model is set as text, never as markup.

const make = (parent, tag, name, text = "") => {
  const element = parent.appendChild(document.createElement(tag));
  if (name) element.className = name;
  element.textContent = text;
  return element;
};

function render({ model, el }) {
  const root = make(el, "div", "phi-branch");
  const label = make(root, "p", "phi-branch-label");
  const text = make(root, "div", "phi-branch-text");
  text.setAttribute("role", "group");
  text.setAttribute("aria-label", "tokens; arrows move, Enter opens what else could have stood there");
  text.dir = "auto";
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

  const draw = () => {
    label.textContent = model.get("label");
    const tokens = model.get("tokens");
    const old = buttons();
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
      button.style.backgroundColor = token.shade;
      button.className = [token.kind ? "phi-kind" : "", at < model.get("begun") ? "phi-begun" : ""].join(" ").trim();
    });
    if (open >= 0) { const at = open; shut(); if (model.get("busy") === false) show(at); }
  };

  for (const name of ["tokens", "label", "busy"]) model.on(`change:${name}`, draw);
  addEventListener("scroll", place, true);
  draw();
  return () => {
    for (const name of ["tokens", "label", "busy"]) model.off(`change:${name}`, draw);
    removeEventListener("scroll", place, true);
    removeEventListener("keydown", onKey, true);
  };
}

export default { render };
