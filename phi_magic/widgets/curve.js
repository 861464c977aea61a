// The cumulative probability over the tokens' ranks, on a logarithmic axis, with the places where a parameter cuts.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300, HEIGHT = 190, LEFT = 36, RIGHT = 8, TOP = 8, BOTTOM = 34;

const make = (parent, tag, attributes = {}, text = "") => {
  const element = parent.appendChild(document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
};

const short = (rank) => (rank >= 1000 ? `${rank / 1000}k` : String(rank));

function render({ model, el }) {
  const root = el.appendChild(document.createElement("div"));
  root.className = "phi-curve";
  const svg = make(root, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  const legend = root.appendChild(document.createElement("div"));
  legend.className = "phi-curve-legend";

  const draw = () => {
    const { ranks, curves, lines, words } = model.get("view");
    svg.replaceChildren();
    legend.replaceChildren();
    if (!ranks) return;
    svg.setAttribute("aria-label", `Cumulative probability over the ranks of the tokens. ${words}`);
    make(svg, "title", {}, words);
    const most = Math.log10(ranks.at(-1)) || 1;
    const x = (rank) => LEFT + ((WIDTH - LEFT - RIGHT) * Math.log10(rank)) / most;
    const y = (sum) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - sum);

    for (const sum of [0, 0.5, 1]) {
      make(svg, "line", { class: "phi-grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(sum), y2: y(sum) });
      make(svg, "text", { x: LEFT - 4, y: y(sum) + 4, "text-anchor": "end" }, `${100 * sum} %`);
    }
    for (let rank = 1; rank <= ranks.at(-1); rank *= 10) {
      make(svg, "line", { class: "phi-grid", x1: x(rank), x2: x(rank), y1: y(0), y2: y(0) + 4 });
      make(svg, "text", { x: x(rank), y: y(0) + 15, "text-anchor": "middle" }, short(rank));
    }
    make(svg, "text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "likeliest tokens, summed up");

    Object.entries(curves).forEach(([name, sums], number) => {
      const points = ranks.map((rank, at) => `${x(rank).toFixed(1)},${y(sums[at]).toFixed(1)}`).join(" ");
      make(svg, "polyline", { class: `phi-curve-${number}`, points });
      const entry = legend.appendChild(document.createElement("span"));
      const sample = make(entry, "svg", { width: 22, height: 8, "aria-hidden": "true" });
      make(sample, "line", { class: `phi-curve-${number}`, x1: 0, x2: 22, y1: 4, y2: 4 });
      entry.append(name);
    });
    lines.forEach(({ name, rank, sum }, number) => {
      make(svg, "path", { class: "phi-cutting", d: `M${LEFT},${y(sum)}H${x(rank)}V${y(0)}` });
      const before = x(rank) > WIDTH / 2;
      const place = { x: x(rank) + (before ? -4 : 4), y: y(0) - 6 - 13 * number, "text-anchor": before ? "end" : "start" };
      make(svg, "text", place, name);
    });
  };

  model.on("change:view", draw);
  draw();
  return () => model.off("change:view", draw);
}

export default { render };
