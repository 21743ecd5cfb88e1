"use strict";
// What all pages share: the theme, charts that are drawn when they come into sight, text that is no markup.
const sslkit = (() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const root = document.documentElement;
  const PALETTES = {
    light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#3d3f44"],
    dark: ["#4aa3df", "#f0803c", "#2fbf94", "#e0a0c4", "#e6b13a", "#9ad4f7", "#d9d9d6"],
  };

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  // Plotly reads tags, entities and %{...} in strings, and names come from the user's files.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\$/g, "&#36;").replace(/%/g, "&#37;");
  const told = (value) => Number(value).toLocaleString("en");

  // --- light and dark
  const system = matchMedia("(prefers-color-scheme: dark)");
  const charts = [];
  let chosen = null;
  try { chosen = localStorage.getItem("sslkit-theme"); } catch { /* a file may have no storage */ }
  const isDark = () => root.dataset.theme === "dark";
  function setTheme() {
    root.dataset.theme = chosen || (system.matches ? "dark" : "light");
    $("theme").setAttribute("aria-pressed", String(isDark()));
    charts.forEach((chart) => chart.drawn && chart.draw());
  }
  $("theme").addEventListener("click", () => {
    chosen = isDark() ? "light" : "dark";
    try { localStorage.setItem("sslkit-theme", chosen); } catch { /* the same */ }
    setTheme();
  });
  system.addEventListener("change", setTheme);
  setTheme();

  // --- charts, drawn when they come into sight
  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const palette = () => PALETTES[isDark() ? "dark" : "light"];
  const coarse = matchMedia("(pointer: coarse)").matches;
  root.classList.toggle("touch", coarse);
  const CONFIG = {
    displaylogo: false, responsive: true, showTips: false, doubleClick: "reset",
    displayModeBar: coarse ? true : "hover",
    modeBarButtons: [coarse ? ["zoomIn2d", "zoomOut2d", "pan2d", "resetScale2d"] : ["zoom2d", "pan2d", "resetScale2d"]],
  };
  function layout(changes) {
    const axis = {
      gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line"),
      tickfont: { size: 11, color: style("--quiet") }, automargin: true, fixedrange: false,
    };
    const { xaxis = {}, yaxis = {}, ...others } = changes;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
      font: { family: style("--sans"), color: style("--text"), size: 12 },
      margin: { l: 8, r: 10, t: 24, b: 8 }, dragmode: coarse ? false : "zoom",
      hoverlabel: { bgcolor: style("--bg"), bordercolor: style("--line"), font: { color: style("--text"), size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--quiet"), activecolor: style("--text") },
      xaxis: { ...axis, showgrid: false, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...others,
    };
  }
  const sight = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    sight.unobserve(entry.target);
    const chart = charts.find((c) => c.element === entry.target);
    chart.drawn = true;
    chart.draw();
    chart.once?.();
  }), { rootMargin: "300px" });
  function register(element, draw, once) {
    charts.push({ element, draw, once, drawn: false });
    sight.observe(element);
  }

  function frame(parent, { title, unit, wide, lines, level }) {
    const box = make("div", wide ? "chart wide" : "chart");
    const heading = make("h3", "", title);
    if (unit) heading.append(" ", make("span", "quiet", unit));
    const plot = make("div", "plot");
    box.append(heading, plot);
    if (lines.length > 1 || level || wide) {
      const legend = make("ul", "legend");
      lines.forEach((label, i) => legend.append(make("li", "", label)));
      if (level) legend.append(make("li", "level", level.meaning));
      box.append(legend);
    }
    parent.append(box);
    return plot;
  }
  function colourLegend(plot, colours) {
    const items = plot.parentElement.querySelectorAll(".legend li:not(.level)");
    items.forEach((item, i) => item.style.setProperty("--c", colours[i % colours.length]));
  }

  return { $, data, root, make, plain, told, style, palette, coarse, CONFIG, layout, register, frame, colourLegend };
})();
