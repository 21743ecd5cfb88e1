(() => {
  const { $, data, make, plain, told, style, palette, CONFIG, layout, register, frame, colourLegend } = sslkit;
  const SYMBOLS = ["circle", "diamond", "square", "cross", "triangle-up", "x", "triangle-down", "star"];

  // --- curves: a zoom in one is a zoom in all
  const curves = document.querySelector("#curves .charts");
  const linked = [];
  let following = false;
  function follow(source, event) {
    if (following) return;
    const reset = event["xaxis.autorange"];
    const range = event["xaxis.range"] || [event["xaxis.range[0]"], event["xaxis.range[1]"]];
    if (!reset && range[0] === undefined) return;
    following = true;
    linked.range = reset ? null : range;
    const change = reset ? { "xaxis.autorange": true } : { "xaxis.range": range.slice(), "xaxis.autorange": false };
    const others = linked.filter((plot) => plot !== source && plot.data);
    Promise.all(others.map((plot) => Plotly.relayout(plot, { ...change }))).finally(() => { following = false; });
  }
  function curveTraces(chart, colours) {
    return chart.lines.flatMap((line, i) => {
      const colour = colours[i % colours.length];
      const one = {
        x: line.x, y: line.y, name: plain(line.label), type: "scatter", mode: chart.marks || line.x.length < 3 ? "lines+markers" : "lines",
        line: { color: colour, width: line.x.length > 200 && !line.smooth ? 1.3 : 2 }, marker: { color: colour, size: 6 },
        hovertemplate: `%{y:.4~g}${chart.unit === "%" ? " %" : ""}<extra>${chart.lines.length > 1 ? plain(line.label) : ""}</extra>`,
      };
      if (!line.smooth) return [one];
      return [
        { ...one, line: { color: colour, width: 1 }, opacity: 0.28, hoverinfo: "skip", hovertemplate: undefined },
        { ...one, y: line.smooth },
      ];
    });
  }
  (data.curves || []).forEach((chart, index) => {
    const wide = index < 2;
    const plot = frame(curves, { ...chart, wide, lines: chart.lines.map((line) => line.label) });
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${chart.title} over the steps`);
    const draw = () => {
      const colours = palette();
      colourLegend(plot, colours);
      const level = chart.level;
      const few = chart.lines.every((line) => line.x[line.x.length - 1] - line.x[0] < 6);
      const range = linked.range || null;
      Plotly.react(plot, curveTraces(chart, colours), layout({
        hovermode: "x unified",
        xaxis: { tickformat: ",d", ...(few ? { dtick: 1 } : { nticks: 6 }), ...(range ? { range } : {}) },
        yaxis: chart.log
          ? { type: "log", dtick: 1, tickformat: "~g" }
          : { rangemode: chart.zero ? "tozero" : "normal", nticks: 6, exponentformat: "power" },
        shapes: level ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: level.value, y1: level.value, line: { color: style("--quiet"), width: 1.3, dash: "dash" } }] : [],
      }), CONFIG);
    };
    register(plot, draw, () => { linked.push(plot); plot.on("plotly_relayout", (event) => follow(plot, event)); });
  });

  // --- invariance: one small chart an operation, all of one height
  if (data.invariance) {
    const off = (ends, middles) => ends.map((end, i) => (end === null ? 0 : Math.abs(end - middles[i])));
    const lowest = Math.min(0.5, ...data.invariance.flatMap((line) => line.y));
    data.invariance.forEach((line) => {
      const plot = frame($("invariance-charts"), { title: line.label, lines: [line.label] });
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", `similarity as ${line.label} grows: ${line.y.map((y) => y.toFixed(2)).join(", ")}`);
      plot.after(make("p", "meaning", [line.trained ? "" : "not trained on", line.meaning && `1: ${line.meaning}`].filter(Boolean).join("; ")));
      register(plot, () => {
        const colour = line.trained ? palette()[0] : style("--quiet");
        Plotly.react(plot, [{
          x: line.x, y: line.y, mode: "lines+markers", type: "scatter", marker: { size: 6, color: colour },
          line: { color: colour, width: 2, dash: line.trained ? "solid" : "dash" },
          error_y: { type: "data", symmetric: false, array: off(line.high, line.y), arrayminus: off(line.low, line.y), width: 0, thickness: 1.5 },
          hovertemplate: "%{y:.3f} at %{x:.2~f}<extra></extra>",
        }], layout({
          hovermode: "closest", margin: { l: 8, r: 10, t: 8, b: 8 },
          xaxis: { range: [-0.1, Math.max(1, ...line.x) + 0.1], nticks: 4 }, yaxis: { range: [lowest - 0.05, 1.05], nticks: 4 },
        }), { ...CONFIG, displayModeBar: false });
      });
    });
  }

  // --- thumbnails out of a sheet
  function setThumb(element, sheet, at) {
    const column = at % sheet.columns, row = Math.floor(at / sheet.columns);
    const place = (i, count) => (count > 1 ? `${(100 * i) / (count - 1)}%` : "0%");
    element.style.backgroundImage = `url(${sheet.source})`;
    element.style.backgroundSize = `${100 * sheet.columns}% ${100 * sheet.rows}%`;
    element.style.backgroundPosition = `${place(column, sheet.columns)} ${place(row, sheet.rows)}`;
  }

  // --- attention over time
  if (data.timeline) {
    const { images, count, frames, is_attention: isAttention } = data.timeline;
    const cells = [];
    const at = (i) => (count > 1 ? `${(100 * i) / (count - 1)}%` : "0%");
    for (let i = 0; i < count; i += 1) {
      const look = make("div", "look");
      const [image, heat, peak] = [make("div"), make("div", "heat"), make("p")];
      [image, heat].forEach((cell) => { cell.style.setProperty("--n", count); cell.style.setProperty("--at", at(i)); });
      image.style.backgroundImage = `url(${images})`;
      image.setAttribute("role", "img");
      image.setAttribute("aria-label", `held-out image ${i + 1}`);
      heat.setAttribute("role", "img");
      heat.setAttribute("aria-label", `${isAttention ? "attention" : "strength"} in image ${i + 1}`);
      look.append(image, heat, peak);
      $("looks").append(look);
      cells.push([heat, peak]);
    }
    const slider = $("step");
    const show = () => {
      const now = frames[Number(slider.value)];
      const step = now.step === 0 ? "before training" : `step ${told(now.step)}`;
      cells.forEach(([heat, peak], i) => {
        heat.style.backgroundImage = `url(${now.strip})`;
        peak.textContent = now.peaks[i] === null ? "not finite" : `${now.peaks[i].toFixed(1)} ×`;
      });
      $("step-told").textContent = step;
      slider.setAttribute("aria-valuetext", step);
    };
    slider.addEventListener("input", show);
    show();
    let timer = null;
    const halt = () => {
      clearInterval(timer);
      timer = null;
      $("play").classList.remove("on");
      $("play").setAttribute("aria-label", "Play");
    };
    $("play").addEventListener("click", () => {
      if (timer) return halt();
      if (slider.value === slider.max) slider.value = 0;
      show();
      $("play").classList.add("on");
      $("play").setAttribute("aria-label", "Stop");
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        show();
        if (slider.value === slider.max) halt();
      }, 650);
    });
    if (frames.length < 2) document.querySelector(".slider").hidden = true;
  }

  // --- nearest neighbours
  if (data.features) {
    const { queries, found, nearest, similarity, classes } = data.features.neighbours;
    const name = (set, i) => (set.labels && classes ? classes[set.labels[i]] : set.keys[i]);
    const figure = (set, i, text, kind) => {
      const box = make("figure", kind);
      const [thumb, caption] = [make("div", "thumb"), make("figcaption")];
      setThumb(thumb, set.sheet, i);
      thumb.setAttribute("role", "img");
      thumb.setAttribute("aria-label", name(set, i));
      thumb.title = set.keys[i];
      caption.append(make("b", "", name(set, i)), text);
      box.append(thumb, caption);
      return box;
    };
    const choose = (query) => {
      [...$("queries").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === query)));
      const others = nearest[query].map((i, rank) => {
        const other = queries.labels && found.labels && queries.labels[query] !== found.labels[i];
        return figure(found, i, `${similarity[query][rank].toFixed(3)}${other ? ", another class" : ""}`, other ? "other" : "");
      });
      $("found").replaceChildren(figure(queries, query, "held out", "query"), ...others);
    };
    nearest.forEach((_, i) => {
      const button = make("button", "thumb");
      button.type = "button";
      setThumb(button, queries.sheet, i);
      button.setAttribute("aria-label", name(queries, i));
      button.addEventListener("click", () => choose(i));
      $("queries").append(button);
    });
    choose(0);
  }

  // --- the map
  if (data.features) {
    const map = data.features.map;
    const scatter = $("scatter"), card = $("card");
    const all = map.x.map((_, i) => i);
    const groups = map.labels
      ? map.classes.map((label, c) => ({ label, members: all.filter((i) => map.labels[i] === c) })).filter((g) => g.members.length)
      : [{ label: "images", members: all }];
    const few = groups.length <= 28;
    const gl = all.length > 600 && (() => { try { return !!document.createElement("canvas").getContext("webgl"); } catch { return false; } })();
    const size = all.length > 1500 ? 6 : all.length > 500 ? 7.5 : 9;
    const picked = $("class");
    if (map.labels) {
      $("pick").hidden = false;
      groups.forEach((group, g) => picked.append(new Option(`${group.label} (${told(group.members.length)})`, g)));
    }
    const draw = () => {
      const colours = palette();
      const only = picked.value === "" ? null : Number(picked.value);
      const traces = groups.map((group, g) => ({
        type: gl ? "scattergl" : "scatter", mode: "markers", name: plain(group.label), hoverinfo: "none",
        x: group.members.map((i) => map.x[i]), y: group.members.map((i) => map.y[i]), customdata: group.members,
        opacity: only === null || only === g ? 0.85 : 0.1,
        marker: {
          size, color: few || only === g ? colours[g % colours.length] : style("--quiet"),
          symbol: few ? SYMBOLS[Math.floor(g / colours.length) % SYMBOLS.length] : "circle", line: { width: 0 },
        },
      }));
      const bare = { showgrid: false, zeroline: false, showticklabels: false, ticks: "", showline: false };
      const legend = few && groups.length > 1;
      Plotly.react(scatter, traces, layout({
        hovermode: "closest", hoverdistance: 14, margin: { l: 8, r: 8, t: 34, b: 8 }, showlegend: legend,
        legend: { orientation: "h", x: 0, y: 0, yanchor: "top", font: { size: 11, color: style("--quiet") }, itemclick: false, itemdoubleclick: false, itemsizing: "constant" },
        xaxis: bare, yaxis: bare,
      }), CONFIG);
    };
    const show = (i) => {
      setThumb(card.firstElementChild, map.sheet, i);
      const mine = map.labels ? map.classes[map.labels[i]] : map.keys[i];
      const near = map.nearest && map.classes ? map.classes[map.nearest[i]] : "";
      card.lastElementChild.textContent = `${mine}\nnearest in training: ${near ? `${near}, ` : ""}${map.similarity[i].toFixed(3)}`;
      card.hidden = false;
      const { xaxis, yaxis } = scatter._fullLayout;
      const [x, y] = [xaxis._offset + xaxis.l2p(map.x[i]), yaxis._offset + yaxis.l2p(map.y[i])];
      const [width, height] = [card.offsetWidth, card.offsetHeight];
      card.style.left = `${Math.max(0, x + width + 16 > scatter.clientWidth ? x - width - 12 : x + 12)}px`;
      card.style.top = `${Math.min(Math.max(0, y - height / 2), scatter.clientHeight - height)}px`;
      card.dataset.image = i;
    };
    register(scatter, draw, () => {
      scatter.on("plotly_hover", (event) => show(event.points[0].customdata));
      scatter.on("plotly_unhover", () => { card.hidden = true; });
      scatter.on("plotly_relayout", () => { card.hidden = true; });
    });
    picked.addEventListener("change", draw);
    const order = all.slice().sort((a, b) => map.x[a] - map.x[b]);
    scatter.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") card.hidden = true;
      if (!way) return;
      event.preventDefault();
      const shown = order.filter((i) => picked.value === "" || groups[picked.value].members.includes(i));
      const at = card.hidden ? -1 : shown.indexOf(Number(card.dataset.image));
      show(shown[(at + way + shown.length) % shown.length]);
    });
    scatter.addEventListener("blur", () => { card.hidden = true; });
  }
})();
