// Adds an element to its parent; a text is set as text, never as markup. It stands before each script that uses it.

const make = (parent, tag, name, text = "") => {
  const element = parent.appendChild(document.createElement(tag));
  if (name) element.className = name;
  element.textContent = text;
  return element;
};

