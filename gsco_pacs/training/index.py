"""Builds a specialist's case index from the training split, and measures on the validation split how near is familiar."""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from gsco_pacs.adapters.bundle_format import CASES, FEATURES
from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.case_index import CaseIndex, ReferenceCase, cases_as_json, patient_hash
from gsco_pacs.adapters.labelled_images import LabelledImage, read_images, read_pixels
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.domain.familiarity import NEAREST, nearness
from gsco_pacs.ports import Picture
from gsco_pacs.training.bundle_writer import rewrite_section

_STRANGE = 0.02
"""This share of the validation split's images is less familiar than a bundle asks for."""


@dataclass(frozen=True)
class BuiltIndex:
    """A case index that is not yet in its bundle."""

    files: Mapping[str, bytes]
    """Name in the bundle -> content."""
    changes: Mapping[str, Any]
    """What becomes different in the `gsco` section."""


def build_index(bundle: Path, manifest: Path, progress: Told) -> Path:
    """Write index/ of a trained bundle from the split train and `familiar_from` from val; return the bundle's directory."""
    specialist = load_bundle(bundle)[0]
    module, labels = specialist.section.module, [entry.label for entry in specialist.section.labels]
    train, val = (read_images(manifest, module, split, labels) for split in ("train", "val"))
    built = indexed(specialist, train, val, progress)
    return rewrite_section(bundle, built.changes, built.files)


def indexed(
    specialist: BundleSpecialist,
    train: Sequence[LabelledImage],
    val: Sequence[LabelledImage],
    progress: Told,
) -> BuiltIndex:
    """The case index of ``train``, and from ``val`` how near a familiar picture is to it.

    The cases are shuffled before they are numbered, so a key says nothing of a file's name or place; the patients are
    hashed with a fresh salt. Both are drawn anew each time.
    """
    cases = list(train)
    secrets.SystemRandom().shuffle(cases)
    salt = secrets.token_hex(16)
    hashes = {group: patient_hash(group, salt) for group in {case.group for case in cases}}
    references, features = [], []
    for number, case in enumerate(cases, start=1):
        features.append(_features(specialist, case).astype(np.float16))
        key = f"{specialist.identity.name}-{number:04d}"
        references.append(ReferenceCase(key, case.labels, hashes[case.group]))
        progress(number, len(cases) + len(val), "")
    index = CaseIndex(specialist.identity.name, np.stack(features), references, salt)
    near = []
    for number, case in enumerate(val, start=1):
        nearest = index.nearest(_features(specialist, case), NEAREST, case.group)
        near.append(nearness([each.similarity for each in nearest]))
        progress(len(cases) + number, len(cases) + len(val), "")
    # Rounded down: where all cases are alike, rounding up would make every one of them strange.
    familiar_from = math.floor(float(np.quantile(near, _STRANGE)) * 1e4) / 1e4
    files = {FEATURES: save({"features": np.stack(features)}), CASES: cases_as_json(references)}
    return BuiltIndex(files, {"patient_salt": salt, "familiar_from": familiar_from})


def _features(specialist: BundleSpecialist, case: LabelledImage) -> NDArray[np.float32]:
    return specialist.judge(Picture("", read_pixels(case.path, specialist.colours)))[1]
