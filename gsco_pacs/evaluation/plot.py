"""Draws the macro-F1 of every contender on every task, with its interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

_FIXED: Any = {"svg.hashsalt": "gsco_pacs", "svg.fonttype": "none"}
"""The same figures give the same bytes."""


def draw(summary: Mapping[str, Any], file: Path) -> None:
    """Write an SVG with one row of points for each task and one for the mean."""
    run = summary["runs"][0]
    tasks = [(task["dataset"].removeprefix("manifest/"), task["rows"]) for task in run["tasks"]]
    if run["mean"]["rows"]:
        tasks.append(("mean", run["mean"]["rows"]))
    names = list(dict.fromkeys(row["name"] for _, rows in tasks for row in rows))
    with rc_context(_FIXED):
        figure = Figure(figsize=(8, 1.2 + 0.2 * len(names) * max(len(tasks), 1)))
        axes = figure.subplots()
        for number, name in enumerate(names):
            _points(axes, tasks, name, number, len(names))
        axes.set_yticks(range(len(tasks)), [title for title, _ in tasks])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("macro-F1 with 95 % interval")
        axes.grid(axis="x", alpha=0.3)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})


def _points(axes: Any, tasks: Any, name: str, number: int, count: int) -> None:
    places, values, below, above = [], [], [], []
    for place, (_, rows) in enumerate(tasks):
        for row in rows:
            f1 = row["macro_f1"]
            if row["name"] == name and None not in (f1["value"], f1["low"], f1["high"]):
                places.append(place + 0.8 * ((number + 0.5) / count - 0.5))
                values.append(f1["value"])
                below.append(max(f1["value"] - f1["low"], 0))
                above.append(max(f1["high"] - f1["value"], 0))
    axes.errorbar(values, places, xerr=[below, above], fmt="o", markersize=4, linewidth=1, label=name)
