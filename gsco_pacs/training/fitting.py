"""Fits a bundle that was trained elsewhere to a department's own images: calibration, thresholds and case index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.adapters.bundle_format import METADATA, GscoSection, LabelEntry, read_metadata
from gsco_pacs.adapters.bundle_samples import seal
from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.labelled_images import LabelledImage, read_images, read_pixels, truth_of
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.ports import Picture
from gsco_pacs.training.bundle_writer import calibrations_of, rewrite_section
from gsco_pacs.training.index import indexed
from gsco_pacs.training.specialist import calibrated


def fit_bundle(bundle: Path, manifest: Path, progress: Told) -> Path:
    """Calibrate each member on the split val, choose its thresholds there, index the split train, and seal.

    The network itself is not changed, and nothing is written before all is known. ConfigError if the manifest or an
    image in it cannot be used, BrokenBundleError if the bundle cannot.
    """
    members = load_bundle(bundle)
    section = read_metadata((bundle / METADATA).read_bytes())[1]
    labels = [entry.label for entry in section.labels]
    train, val = (read_images(manifest, section.module, split, labels) for split in ("train", "val"))
    truth = truth_of(val, labels)
    fitted = [
        calibrated(section.labels, section.task, _logits(member, val, progress), truth) for member in members
    ]
    built = indexed(members[0], train, val, progress)
    return seal(rewrite_section(bundle, {**_changes(section, fitted), **built.changes}, built.files))


def _changes(section: GscoSection, calibrations: Sequence[tuple[LabelEntry, ...]]) -> dict[str, Any]:
    """The members' ``calibrations`` as changes of the section, the first member's in its labels."""
    first, *others = calibrations
    members = [
        member.model_copy(update={"labels": calibrations_of(own)})
        for member, own in zip(section.members, others, strict=True)
    ]
    return {"labels": first, "members": tuple(members)}


def _logits(member: BundleSpecialist, cases: Sequence[LabelledImage], progress: Told) -> NDArray[np.float32]:
    rows = []
    for done, case in enumerate(cases, start=1):
        rows.append(member.judge(Picture("", read_pixels(case.path, member.colours)))[0])
        progress(done, len(cases), "")
    return np.stack(rows)
