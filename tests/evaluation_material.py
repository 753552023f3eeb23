"""A specialist, a generalist and images for tests of the evaluation; light, so that processes can import it quickly."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Answer, Briefing, Code, Finding, ModelIdentity, SimilarCase
from gsco_pacs.ports import InputContract, Look, Picture, Pooling, Thresholds

LABELS = ("glioma", "meningioma", "none")


class Guesser:
    """A specialist that reads the grey value: a third of the range for each label, wrong where an image is marked."""

    identity = ModelIdentity("guesser", "1", "a" * 64)
    contract = InputContract((), (), (), (), 1, 1, 1)
    findings = tuple(
        Finding(label, label, Code(label, "99TEST", label), normal=label == "none") for label in LABELS
    )
    thresholds = (Thresholds(0.2, 0.5),) * 3
    pooling = Pooling()
    examines = "brain MR"
    bundle = "guesser"
    familiar_from: float | None = None

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        def seen(picture: Picture) -> Look:
            place = min(int(float(picture.pixels.mean()) * 3), 2)
            return Look(tuple(0.8 if n == place else 0.1 for n in range(3)), np.ones(2, np.float32))

        return tuple(seen(picture) for picture in pictures)

    def similar(self, look: Look, k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        place = int(np.argmax(look.probabilities))
        return tuple(SimilarCase("guesser", f"r{n}", (LABELS[place],), 0.9 - n / 100, "") for n in range(k))


class Parrot:
    """A generalist that repeats the specialists' diagnosis; without one it says something that is no option."""

    identity = ModelIdentity("parrot", "1", "b" * 64)

    def __init__(self, prompts: list[str] | None = None) -> None:
        self.prompts = [] if prompts is None else prompts

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
        self.prompts.append(briefing.prompt)
        _, told, rest = briefing.prompt.partition("specialist models are ")
        return Answer(rest.partition(".")[0] if told else "influenza", self.identity, image_seen=True)


def write_cases(folder: Path, count: int = 9) -> Path:
    """Images whose grey value tells their label, but for every fourth; a manifest with a patient each."""
    (folder / "mr").mkdir(parents=True)
    rows = [["path", "module", "modality", "label", "group", "split"]]
    for n in range(count):
        label = n % 3
        shown = (label + (n % 4 == 3)) % 3
        name = f"mr/{n}.png"
        Image.new("L", (40, 40), 40 + 85 * shown).save(folder / name)
        rows.append([name, "mr", "MR", LABELS[label], f"p{n}", "test"])
    with (folder / "manifest.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    return folder / "manifest.csv"


def guessers() -> tuple[Guesser, ...]:
    """Opens the specialists."""
    return (Guesser(),)


def refusing() -> Callable[[int], int]:
    """Opens a worker that cannot do the second piece."""

    def work(piece: int) -> int:
        if piece == 2:
            raise ConfigError("the second of two")
        return piece

    return work


def dying() -> Callable[[int], int]:
    """Opens a worker whose process ends."""

    def work(piece: int) -> int:
        os._exit(piece)

    return work
