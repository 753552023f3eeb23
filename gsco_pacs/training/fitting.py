"""Fits a bundle that was trained elsewhere to a department's own images: calibration, thresholds and case index."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.adapters.bundle_format import METADATA, CalibrationEntry, GscoSection, read_metadata
from gsco_pacs.adapters.bundle_samples import seal
from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.labelled_images import read_images, read_pixels, truth_of
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.ports import Picture
from gsco_pacs.training.bundle_writer import rewrite_section
from gsco_pacs.training.index import build_index
from gsco_pacs.training.specialist import calibrated

_NEUTRAL = {key: field.default for key, field in CalibrationEntry.model_fields.items() if key != "label"}


def fit_bundle(bundle: Path, manifest: Path, progress: Told) -> Path:
    """Calibrate each member on the split val, choose its thresholds there, index the split train, and seal.

    The network itself is not changed. ConfigError if the manifest has no such images, BrokenBundleError if the
    bundle cannot be used.
    """
    _, section = read_metadata((bundle / METADATA).read_bytes())
    rewrite_section(bundle, _changes(section, [_neutral(section)] * (1 + len(section.members))))
    labels = [entry.label for entry in section.labels]
    cases = read_images(manifest, section.module, "val", labels)
    truth = truth_of(cases, labels)
    fitted = []
    for member in load_bundle(bundle):
        logits = _logits(member, [case.path for case in cases], progress)
        fitted.append([
            entry.model_dump(include=set(CalibrationEntry.model_fields))
            for entry in calibrated(section.labels, section.task, logits, truth)
        ])  # fmt: skip
    rewrite_section(bundle, _changes(section, fitted))
    return seal(build_index(bundle, manifest, progress))


def _neutral(section: GscoSection) -> list[dict[str, Any]]:
    return [{"label": entry.label, **_NEUTRAL} for entry in section.labels]


def _changes(section: GscoSection, calibrations: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The members' ``calibrations`` as changes of the section, the first member's in its labels."""
    first, *others = calibrations
    labels = [entry.model_copy(update=own) for entry, own in zip(section.labels, first, strict=True)]
    members = [
        member.model_copy(update={"labels": tuple(CalibrationEntry.model_validate(entry) for entry in own)})
        for member, own in zip(section.members, others, strict=True)
    ]
    return {"labels": tuple(labels), "members": tuple(members)}


def _logits(member: BundleSpecialist, paths: list[Path], progress: Told) -> NDArray[np.float64]:
    """The network's outputs up to what calibration does not see, from probabilities that were left as they are."""
    rows = []
    for done, path in enumerate(paths, start=1):
        (look,) = member.look([Picture("", read_pixels(path))])
        rows.append(look.probabilities)
        progress(done, len(paths), "")
    said = np.clip(np.array(rows), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(said) if member.section.task == "multi-class" else np.log(said / (1 - said)))
