// Take a page apart into what is drawn: boxes, lines of text, and the shapes of its SVG elements, in their order.
(limit) => {
  const ops = [];
  const CLEAR = "rgba(0, 0, 0, 0)";
  const SHAPES = { path: ["d"], polyline: ["points"], line: ["x1", "y1", "x2", "y2"], rect: ["x", "y", "width", "height", "rx"], circle: ["cx", "cy", "r"], text: ["x", "y", "dy"] };
  const measure = document.createElement("canvas").getContext("2d");

  function box(element, style, area) {
    const sides = ["Top", "Right", "Bottom", "Left"].map((side) => parseFloat(style[`border${side}Width`]));
    const whole = sides.every((width) => width > 0);
    const radius = parseFloat(style.borderTopLeftRadius) || 0;
    if (style.backgroundColor !== CLEAR || whole) {
      ops.push({ kind: "rect", x: area.left, y: area.top, width: area.width, height: area.height, rx: Math.min(radius, area.height / 2),
        fill: style.backgroundColor, stroke: whole ? style.borderTopColor : CLEAR, strokeWidth: whole ? sides[0] : 0 });
    }
    if (whole) return;
    const [top, , bottom, left] = sides;
    const bar = (x, y, width, height, fill) => ops.push({ kind: "rect", x, y, width, height, rx: 0, fill, stroke: CLEAR, strokeWidth: 0 });
    if (top) bar(area.left, area.top, area.width, top, style.borderTopColor);
    if (bottom) bar(area.left, area.bottom - bottom, area.width, bottom, style.borderBottomColor);
    if (left) bar(area.left, area.top, left, area.height, style.borderLeftColor);
  }

  function before(element, area) {
    const style = getComputedStyle(element, "::before");
    const size = parseFloat(style.width);
    if (style.content !== '""' || !size || style.backgroundColor === CLEAR) return;
    ops.push({ kind: "rect", x: area.left, y: area.top + (area.height - size) / 2, width: size, height: size, rx: size / 2,
      fill: style.backgroundColor, stroke: CLEAR, strokeWidth: 0 });
  }

  function words(node, style) {
    const range = document.createRange();
    let line = null;
    const end = () => { if (line && line.text.trim()) ops.push(line); line = null; };
    for (let i = 0; i < node.length; i++) {
      range.setStart(node, i);
      range.setEnd(node, i + 1);
      const area = range.getBoundingClientRect();
      if (!area.width) continue;
      if (line && Math.abs(line.top - area.top) > 3) end();
      if (!line && !node.data[i].trim()) continue;
      if (!line) {
        measure.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
        const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: down } = measure.measureText("x");
        line = { kind: "words", text: "", top: area.top, x: area.left, y: area.top + (area.height * up) / (up + down), fill: style.color,
          stroke: CLEAR, size: parseFloat(style.fontSize), weight: style.fontWeight, mono: /mono/i.test(style.fontFamily) && !/sans/i.test(style.fontFamily) };
      }
      line.text += node.data[i];
      if (node.data[i].trim()) line.width = area.right - line.x;
    }
    end();
  }

  function shape(element, style) {
    const names = SHAPES[element.localName];
    if (!names) return;
    const attributes = {};
    for (const name of names) {
      const length = element[name]?.baseVal;
      const value = length?.value ?? (length?.[0]?.value ?? element.getAttribute(name));
      if (value !== null && value !== "") attributes[name] = value;
    }
    const { a, b, c, d, e, f } = element.getScreenCTM();
    ops.push({ kind: "shape", tag: element.localName, attributes, matrix: [a, b, c, d, e, f], fill: style.fill, stroke: style.stroke, strokeWidth: parseFloat(style.strokeWidth),
      dash: style.strokeDasharray, opacity: style.opacity, fixed: style.vectorEffect === "non-scaling-stroke", cap: style.strokeLinecap,
      text: element.localName === "text" ? element.textContent : null, size: parseFloat(style.fontSize), weight: style.fontWeight, anchor: style.textAnchor, baseline: style.dominantBaseline, order: style.paintOrder });
  }

  function walk(element) {
    const style = getComputedStyle(element);
    if (style.display === "none" || style.visibility === "hidden" || element.matches(".unseen, .skip, .reader, script, style, title")) return;
    const area = element.getBoundingClientRect();
    if (area.top >= limit) return;
    if (element.localName === "svg") box(element, style, area);
    if (element instanceof SVGElement) shape(element, style);
    else if (element !== document.body) {
      box(element, style, area);
      before(element, area);
    }
    if (element.localName === "text") return;
    const closed = element.localName === "details" && !element.open;
    for (const child of closed ? element.querySelectorAll("summary") : element.childNodes) {
      if (child.nodeType === Node.ELEMENT_NODE) walk(child);
      else if (child.nodeType === Node.TEXT_NODE && !(element instanceof SVGElement)) words(child, style);
    }
  }

  walk(document.body);
  return { ops, ground: getComputedStyle(document.body).backgroundColor };
}
