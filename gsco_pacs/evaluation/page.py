"""The figures of a run as Markdown tables; the page's numbers are the JSON's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BEGIN = "<!-- Made by `gsco-pacs evaluate report` from evaluation.json; change the runs, not this part. -->"
END = "<!-- End of the made part. -->"

Row = Mapping[str, Any]
_EFFORT = ("calls", "seconds a case", "tokens in / out", "TFLOP", "cost")


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
    if run["aims"]:
        rows = [[one["aim"], one["found"], "yes" if one["met"] else "no"] for one in run["aims"]]
        yield table(["aim", "found", "met"], rows)
    if "unread" in run:
        rows = [[one["dataset"], str(one["n"])] for one in run["unread"]]
        yield table(["data set", "cases left out, since their images cannot be read"], rows)
    yield from _means(run)
    for task in run["tasks"]:
        yield from _task(task)
    for task in run["questions"]:
        yield from _questions(task)
    for task in run["reports"]:
        yield from _reports(task)
    for gate in run["when_unsure"]:
        yield from _when_unsure(gate)
    for task in run["tasks"]:
        yield from _overruling(task)
    for part in run["ablation"]:
        yield from _ablation(part)


def _means(run: Row) -> Iterator[str]:
    mean = run["mean"]
    if not mean["rows"]:
        return
    yield f"#### Mean over {mean['tasks']} diagnosis tasks\n"
    yield table(["who", "mean macro-F1"], [[row["name"], interval(row["macro_f1"])] for row in mean["rows"]])
    yield from paired(mean["paired"])


def _task(task: Row) -> Iterator[str]:
    limit = "its threshold on val" if task["thresholds"] == "val" else "0.5"
    rule = "" if task["single"] else f", each named by the specialists from {limit}"
    kind = f"{'one' if task['single'] else 'any'} of {task['options']} options{rule}"
    yield f"#### {task['dataset']} ({kind}), split {task['split']}: {_size(task)}\n"
    yield table(
        ["who", "macro-F1", "accuracy", "balanced accuracy", "macro AUC", "ECE", "Brier", "unreadable"],
        [_figures(row) for row in task["rows"]],
    )
    yield table(
        ["who", *_EFFORT],
        [effort(row, task["n"]) for row in task["rows"]],
    )
    yield from paired(task["paired"])


def _questions(task: Row) -> Iterator[str]:
    yield f"#### {task['dataset']} (questions), split {task['split']}: {_size(task)}\n"
    rows = [
        [row["name"], *(_kind(row, kind) for kind in ("closed", "open")), *effort(row, task["n"])[1:]]
        for row in task["rows"]
    ]
    yield table(["who", "accuracy, closed", "recall, open", *_EFFORT], rows)
    tests = [
        [f"{test['first']} − {test['second']}", interval(test["score"]), number(test["score"]["p"], 4)]
        for test in task["paired"]
    ]
    if tests:
        yield table(["difference of the mean score", "value", "p (bootstrap)"], tests)


def _kind(row: Row, kind: str) -> str:
    return f"{interval(row[kind])}, n = {row[f'{kind}_n']}" if kind in row else "–"


def _reports(task: Row) -> Iterator[str]:
    yield f"#### {task['dataset']} (reports), split {task['split']}: {_size(task)}\n"
    names = [row["name"] for row in task["rows"]]
    measures = task["rows"][0]["figures"] if task["rows"] else {}
    rows = [[name, *(_measured(row["figures"][name]) for row in task["rows"])] for name in measures]
    yield table(["measure", *names], rows)
    yield table(["who", *_EFFORT], [effort(row, task["n"]) for row in task["rows"]])


def _measured(value: float | str | None) -> str:
    return value if isinstance(value, str) else number(value, 3)


def _when_unsure(gate: Row) -> Iterator[str]:
    yield f"#### Asking only when unsure: {gate['name']}\n"
    rows = [
        [
            task["dataset"],
            str(task["n"]),
            task["gate"],
            share(task["saved"]),
            interval(task["always"]),
            interval(task["when_unsure"]),
            interval(task["difference"]),
        ]
        for task in gate["tasks"]
    ]
    total = ["all", str(sum(task["n"] for task in gate["tasks"])), "", share(gate["saved"]), "", ""]
    rows.append([*total, interval(gate["difference"])])
    yield table(["task", "n", "gate", "calls saved", "asked always", "asked when unsure", "difference"], rows)


def _overruling(task: Row) -> Iterator[str]:
    unit = "cases" if task["single"] else "pairs of case and label"
    for one in task["overruling"]:
        yield f"#### Who is right where they differ: {task['dataset']}, {one['name']} ({unit})\n"
        keys = ("n", "overruled", "rightly", "wrongly", "unreadable")
        rows = [[f"{b['from']:g} to {b['to']:g}", *(str(b[key]) for key in keys)] for b in one["bins"]]
        yield table(["specialists' confidence", *keys], rows)


def _ablation(part: Row) -> Iterator[str]:
    yield f"#### What each part of the briefing is worth ({part['template']})\n"
    rows = [
        [
            row["part"],
            row["name"],
            str(row["n"]),
            interval(row["macro_f1"]),
            interval(row["against_base"]),
            number(row["against_base"]["p"], 4),
            number(row["specialists"]["value"], 3),
            str(row["failures"]),
        ]
        for row in part["rows"]
    ]
    columns = [
        "part",
        "briefing",
        "n",
        "mean macro-F1",
        "against the whole",
        "p",
        "specialists alone",
        "unreadable",
    ]
    yield table(columns, rows)


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
        yield table(
            ["difference of macro-F1", "value", "p (bootstrap)", "p (McNemar by patients, accuracy)"], rows
        )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table and an empty line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _size(task: Row) -> str:
    return f"{task['n']} cases of {task['groups']} patients"


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.0f} %"


def number(value: float | None, digits: int = 2) -> str:
    """``value`` with so many digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(value: Row | None, digits: int = 3) -> str:
    """A figure with its interval."""
    if value is None or value["value"] is None:
        return "–"
    return f"{value['value']:.{digits}f} ({number(value['low'], digits)} to {number(value['high'], digits)})"
