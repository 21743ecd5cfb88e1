(() => {
  const { $, data, make, plain, style, palette, CONFIG, layout, register, frame } = sslkit;
  if (!data.curves.length) return;
  const LINES = ["solid", "dash", "dot"];
  const BORDERS = ["solid", "dashed", "dotted"];
  const colourOf = (arm) => (arm.colour === null ? style("--text") : palette()[arm.colour]);
  let chosen = null;

  // --- the arms beside the charts, and which of them is looked at
  const list = $("arms");
  const buttons = data.arms.map((arm, i) => {
    const button = make("button", arm.baseline ? "baseline" : "", arm.name);
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.style.setProperty("--dash", BORDERS[arm.dash]);
    button.addEventListener("click", () => choose(chosen === i ? null : i));
    list.append(button);
    return button;
  });
  const redraws = [];
  function choose(i) {
    chosen = i;
    list.classList.toggle("chosen", i !== null);
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
    redraws.forEach((redraw) => redraw());
  }

  // --- curves with bands
  const isSeen = (i) => chosen === null || chosen === i || data.arms[i].baseline;
  function band(line, colour, i) {
    const some = data.all_bands || (chosen !== null && isSeen(i));
    return {
      x: [...line.x, ...line.x.slice().reverse()], y: [...line.high, ...line.low.slice().reverse()],
      type: "scatter", mode: "lines", fill: "toself", fillcolor: colour, line: { width: 0, color: colour },
      opacity: some ? 0.16 : 0, hoverinfo: "skip",
    };
  }
  function curve(line, colour, arm, i) {
    return {
      x: line.x, y: line.mean, name: plain(arm.name), type: "scatter", mode: "lines+markers",
      line: { color: colour, width: arm.baseline ? 3.4 : 2, dash: LINES[arm.dash] }, marker: { color: colour, size: arm.baseline ? 7 : 5 },
      opacity: isSeen(i) ? 1 : 0.1, hoverinfo: isSeen(i) ? undefined : "skip",
      customdata: line.x.map((_, k) => `${line.n[k]} seed${line.n[k] === 1 ? "" : "s"}: ${line.low[k].toFixed(3)} to ${line.high[k].toFixed(3)}`),
      hovertemplate: isSeen(i) ? `<b>${plain(arm.name)}</b><br>%{y:.3f} at %{x:,} images<br>%{customdata}<extra></extra>` : undefined,
    };
  }
  data.curves.forEach((chart) => {
    const plot = frame(document.querySelector("#curves .charts"), { title: chart.title, lines: [] });
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${chart.title} over the training images seen`);
    const draw = () => {
      buttons.forEach((button, i) => button.style.setProperty("--c", colourOf(data.arms[i])));
      const order = data.arms.map((arm, i) => i).filter((i) => chart.lines[i]).sort((a, b) => isSeen(a) - isSeen(b) || data.arms[a].baseline - data.arms[b].baseline);
      const traces = order.flatMap((i) => {
        const colour = colourOf(data.arms[i]);
        return [band(chart.lines[i], colour, i), curve(chart.lines[i], colour, data.arms[i], i)];
      });
      Plotly.react(plot, traces, layout({
        hovermode: "closest", hoverdistance: 30, margin: { l: 8, r: 12, t: 26, b: 8 },
        xaxis: { tickformat: ",d", nticks: 7, rangemode: "tozero" }, yaxis: { nticks: 7 },
      }), CONFIG);
    };
    let drawn = false;
    register(plot, draw, () => { drawn = true; });
    redraws.push(() => { if (drawn) draw(); });
  });
})();
