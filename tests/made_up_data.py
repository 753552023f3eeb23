"""Made-up pictures with labels, and a task for them, small enough to train on in seconds."""

import csv
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from PIL import Image

LABELS = ("Bright", "Striped", "Plain")


def write_data(
    folder: Path, kind: Literal["multi-label", "multi-class"], patients: int = 18
) -> tuple[Path, Path]:
    """Write a task file and a manifest of one image a patient; a label can be seen in the picture that has it."""
    random = np.random.default_rng(7)
    rows = []
    for patient in range(patients):
        label = LABELS[patient % 3]
        picture = random.normal(90, 12, (48, 40))
        picture += 90 * (label == "Bright")
        picture[::4] += 80 * (label == "Striped")
        name = f"secret-name-{patient}.png"
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name)
        both = "Bright|Striped" if kind == "multi-label" and label == "Bright" and patient % 2 else label
        split = ("train", "train", "val", "test")[patient // 3 % 4]
        rows.append([name, "made_up", both, f"patient-{patient}", split, ("PA", "AP")[patient % 2]])
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as lines:
        csv.writer(lines).writerows([["path", "module", "label", "group", "split", "view"], *rows])
    task = folder / "task.yaml"
    task.write_text(yaml.safe_dump(_task(kind)))
    return task, manifest


def _task(kind: str) -> dict[str, object]:
    code = {"value": "112033", "scheme": "DCM", "meaning": "Abnormal opacity"}
    return {
        "name": "made_up",
        "version": "1.0.0",
        "title": "Made-up patterns",
        "description": "Patterns that a test makes up.",
        "region": "chest",
        "modality_phrase": "test pattern",
        "module": "made_up",
        "kind": kind,
        "fit": "pad",
        "input": {"modalities": ["DX"], "views": ["PA"], "max_images": 2},
        "labels": [{"label": label, "text": label.lower(), "code": code} for label in LABELS],
        "normal_label": "Plain",
    }
