"""The figures of a run as Markdown tables; the page's numbers are the JSON's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BEGIN = "<!-- Made by `gsco-pacs evaluate report` from evaluation.json; change the runs, not this part. -->"
END = "<!-- End of the made part. -->"

Row = Mapping[str, Any]


def tables(summary: Row) -> str:
    """Every table of the page."""
    return "\n".join(line for run in summary["runs"] for line in _run(run))


def put_between_marks(page: str, made: str) -> str:
    """``page`` with ``made`` between the marks; at its end if it has none yet."""
    before, mark, rest = page.partition(BEGIN)
    after = rest.partition(END)[2] if mark else "\n"
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def _run(run: Row) -> Iterator[str]:
    model = run["generalist"]
    if model:
        size = f", {model['parameters'] / 1e6:.0f} M weights" if model["parameters"] else ""
        yield f"### Generalist: {model['name']} ({model['version']}, sha256 `{model['sha256']}`{size})\n"
    yield from _means(run)
    for task in run["tasks"]:
        yield from _task(task)


def _means(run: Row) -> Iterator[str]:
    mean = run["mean"]
    if not mean["rows"]:
        return
    yield f"#### Mean over {mean['tasks']} tasks\n"
    yield table(["who", "mean macro-F1"], [[row["name"], interval(row["macro_f1"])] for row in mean["rows"]])
    yield from paired(mean["paired"])


def _task(task: Row) -> Iterator[str]:
    kind = "one of" if task["single"] else "any of"
    yield (
        f"#### {task['dataset']} ({kind} {task['options']} options), split {task['split']}: "
        f"{task['n']} cases of {task['groups']} patients\n"
    )
    yield table(
        ["who", "macro-F1", "accuracy", "balanced accuracy", "macro AUC", "ECE", "Brier", "unreadable"],
        [_figures(row) for row in task["rows"]],
    )
    yield table(
        ["who", "calls", "seconds a case", "tokens in / out", "TFLOP", "cost"],
        [effort(row, task["n"]) for row in task["rows"]],
    )
    yield from paired(task["paired"])


def _figures(row: Row) -> list[str]:
    keys = ("macro_f1", "accuracy", "balanced_accuracy", "macro_auc")
    return [
        row["name"],
        *(interval(row.get(key)) for key in keys),
        number(row.get("ece"), 3),
        number(row.get("brier"), 3),
        str(row["failures"]),
    ]


def effort(row: Row, cases: int) -> list[str]:
    """What a contender cost, as cells."""
    tokens = f"{row['tokens_in']} / {row['tokens_out']}" if "tokens_in" in row else "–"
    flops = number(row["flops"] / 1e12, 1) if "flops" in row else "–"
    return [
        row["name"],
        str(row["calls"]),
        number(row["seconds"] / max(cases, 1)),
        tokens,
        flops,
        number(row.get("cost"), 4),
    ]


def paired(tests: Sequence[Row]) -> Iterator[str]:
    """The paired tests as a table, if there are any."""
    if tests:
        rows = [
            [
                f"{test['first']} − {test['second']}",
                interval(test["macro_f1"]),
                number(test["macro_f1"]["p"], 4),
                number(test.get("mcnemar_p"), 4),
            ]
            for test in tests
        ]
        yield table(["difference of macro-F1", "value", "p (bootstrap)", "p (McNemar, accuracy)"], rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table and an empty line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """``value`` with so many digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(value: Row | None, digits: int = 3) -> str:
    """A figure with its interval."""
    if value is None or value["value"] is None:
        return "–"
    return f"{value['value']:.{digits}f} ({number(value['low'], digits)} to {number(value['high'], digits)})"
