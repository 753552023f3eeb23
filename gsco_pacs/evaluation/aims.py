"""What was aimed at, and whether the figures reach it: computed, so that the page cannot say otherwise."""

from collections.abc import Iterator, Mapping
from typing import Any

from gsco_pacs.domain.findings import Mode

SIGNIFICANT = 0.05
CALLS_SAVED = 0.6
LOSS = 0.005

_Figures = Mapping[str, Any]


def aims(run: _Figures) -> list[dict[str, Any]]:
    """Each aim with what was found and whether it is met, for every wording of both briefings together."""
    return [*_on_each_task(run), *_on_the_mean(run), *_when_unsure(run), *_questions(run)]


def _on_each_task(run: _Figures) -> Iterator[dict[str, Any]]:
    for task in run["tasks"]:
        values = {row["name"]: row["macro_f1"]["value"] for row in task["rows"]}
        for name, value in values.items():
            alone = [values[other] for other in _alone(name) if other in values]
            if name.startswith(Mode.MOED_RAD) and len(alone) == 2:
                yield {
                    "aim": f"{task['dataset']}: {name} at least the better of specialists and generalist",
                    "found": f"{value:.3f} beside {max(alone):.3f}",
                    "met": value >= max(alone),
                }


def _on_the_mean(run: _Figures) -> Iterator[dict[str, Any]]:
    for test in run["mean"]["paired"]:
        if test["second"] in _alone(test["first"]):
            difference = test["macro_f1"]
            yield {
                "aim": f"mean over tasks: {test['first']} above {test['second']}, p < {SIGNIFICANT}",
                "found": f"{difference['value']:+.3f}, p = {difference['p']:.4f}",
                "met": difference["value"] > 0 and difference["p"] < SIGNIFICANT,
            }


def _when_unsure(run: _Figures) -> Iterator[dict[str, Any]]:
    for gate in run["when_unsure"]:
        loss = -gate["difference"]["value"]
        yield {
            "aim": f"asking when unsure ({gate['name']}): at least 60 % of calls saved for at most 0.5 points",
            "found": f"{100 * gate['saved']:.0f} % saved, {100 * loss:+.1f} points lost",
            "met": gate["saved"] >= CALLS_SAVED and loss <= LOSS,
        }


def _questions(run: _Figures) -> Iterator[dict[str, Any]]:
    for task in run["questions"]:
        for test in task["paired"]:
            if test["first"].startswith(Mode.MOED_RAD):
                score = test["score"]
                yield {
                    "aim": f"{task['dataset']}: questions answered better with briefing than without",
                    "found": f"{score['value']:+.3f}, p = {score['p']:.4f}",
                    "met": score["value"] > 0 and score["p"] < SIGNIFICANT,
                }


def _alone(name: str) -> tuple[str, str]:
    """The specialists, and the generalist in the same words and by the same rule as ``name``."""
    _, _, words = name.partition(", ")
    return "specialists", f"{Mode.GENERALIST}, {words}"
