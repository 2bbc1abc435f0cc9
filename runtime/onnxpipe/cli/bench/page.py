"""Write a benchmark as one HTML page with plots, which needs nothing else: no script, no font, no network."""

from __future__ import annotations

import re
import statistics
from io import StringIO
from pathlib import Path
from typing import Any

from onnxpipe.cli.bench.figures import Benchmark, change, medians, number
from onnxpipe.errors import MissingDependencyError

_BATCH = re.compile(r"batch of (\d+), inputs \(1/s\)")

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
  table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
  th, td { padding: .25rem min(.75rem, 1.5vw); border-bottom: 1px solid #ccc; text-align: right; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; }
  dl { display: grid; grid-template-columns: max-content auto; gap: 0 1rem; }
  dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
  .better { color: #0b6b2e; } .worse { color: #a4161a; font-weight: 600; }
  small { color: #555; }
  figure { margin: 1.5rem 0; } figure svg { max-width: 100%; height: auto; }
  @media (max-width: 40rem) { table { font-size: .85rem; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<dl>{% for name, value in about %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
{% for caption, svg in plots %}<figure>{{ svg | safe }}<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}<table>
<thead><tr><th>figure</th>{% for name in settings %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for figure, cells in rows %}<tr><th scope="row">{{ figure }}</th>{% for cell in cells %}<td>{{ cell.value }}
{%- if cell.spread %}<br><small>{{ cell.spread }}</small>{% endif %}
{%- if cell.change %}<br><span class="{{ cell.kind }}">{{ cell.change }}</span>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
<p><small>Medians of the rounds, and below them the lowest and the highest. "at half load" and "at N/s": calls arrive at
random, and their time counts from when they were due.</small></p>
</body>
</html>
"""


def write_page(path: Path, benchmark: Benchmark, before: Benchmark | None = None) -> None:
    """Write the page.

    Args:
        path: the .html file.
        benchmark: the figures.
        before: earlier figures; what changed since is marked.

    Raises:
        MissingDependencyError: there is no matplotlib, which draws the plots.
    """
    from jinja2.sandbox import SandboxedEnvironment

    title = f"{benchmark.about.get('model', 'a model')}: {benchmark.about.get('task', 'benchmark')}"
    figures = list(dict.fromkeys(figure for each in benchmark.settings.values() for figure in each))
    page = SandboxedEnvironment(autoescape=True).from_string(_TEMPLATE).render(
        title=title,
        about=[(name, str(value)) for name, value in benchmark.about.items()],
        plots=_plots(benchmark),
        settings=list(benchmark.settings),
        rows=[(figure, [_cell(benchmark, before, name, figure) for name in benchmark.settings]) for figure in figures],
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def _cell(benchmark: Benchmark, before: Benchmark | None, setting: str, figure: str) -> dict[str, str]:
    values = benchmark.settings[setting].get(figure)
    if not values:
        return {"value": ""}
    earlier = (before.settings.get(setting, {}) if before else {}).get(figure)
    found = change(figure, earlier, values) if earlier else None
    return {
        "value": number(statistics.median(values)),
        "spread": f"{number(min(values))} - {number(max(values))}" if len(values) > 1 else "",
        "change": str(found) if found else "",
        "kind": "better" if found and found.better else "worse",
    }


def _plots(benchmark: Benchmark) -> list[tuple[str, str]]:
    """Draw the plots: caption and SVG."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDependencyError(
            'the plots of --html are drawn by matplotlib: pip install "onnxpipe[plots]", or leave --html out'
        ) from error
    from matplotlib.figure import Figure

    plots = []
    with mpl.rc_context({"svg.hashsalt": "onnxpipe", "svg.fonttype": "none", "font.family": "sans-serif"}):
        for label in dict.fromkeys(
            figure.partition(",")[0]
            for each in benchmark.settings.values() for figure in each if figure.endswith("(ms)")
        ):  # fmt: skip
            figure = Figure(figsize=(9, 0.6 + 0.5 * len(benchmark.settings)), layout="constrained")
            _bars(figure.subplots(), benchmark, [f"{label}, {title} (ms)" for title in ("p50", "p95", "p99")], "ms")
            plots.append((f"Milliseconds of a call, {label}: p50, p95 and p99.", _svg(figure)))
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        if _lines(figure.subplots(), benchmark):
            plots.append(("Inputs a second by the size of a batch.", _svg(figure)))
        figure = Figure(figsize=(9, 0.9 + 0.4 * len(benchmark.settings)), layout="constrained")
        left, right = figure.subplots(1, 2)
        _bars(left, benchmark, ["cold start (s)"], "seconds to the first answer")
        _bars(right, benchmark, ["peak memory (MB)"], "MB")
        plots.append(("Cold start of a process, and its peak memory.", _svg(figure)))
    return plots


def _bars(axes: Any, benchmark: Benchmark, figures: list[str], unit: str) -> None:
    """Draw a group of bars for each setting, one bar a figure."""
    names = list(benchmark.settings)
    height = 0.8 / len(figures)
    for place, figure in enumerate(figures):
        values = medians(benchmark, figure)
        places = [names.index(name) + (place - (len(figures) - 1) / 2) * height for name in values]
        title = figure.partition(", ")[2].partition(" (")[0]
        axes.barh(places, list(values.values()), height=0.9 * height, label=title or None)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    if len(figures) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")


def _lines(axes: Any, benchmark: Benchmark) -> bool:
    """Draw the throughput of each setting; tell whether there is any."""
    drawn = False
    for name, figures in benchmark.settings.items():
        points = [(int(found[1]), statistics.median(values))
                  for figure, values in figures.items() if (found := _BATCH.fullmatch(figure))]  # fmt: skip
        if points:
            axes.plot(*zip(*points), marker="o", label=name)
            drawn = True
    if drawn:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("inputs in a batch")
        axes.set_ylabel("inputs a second")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return drawn


def _svg(figure: Any) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return text.getvalue()[text.getvalue().index("<svg") :]
