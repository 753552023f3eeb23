"""Builds a specialist's case index from the training split."""

import secrets
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from gsco_pacs.adapters.bundle_format import CASES, FEATURES
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.case_index import ReferenceCase, cases_as_json, patient_hash
from gsco_pacs.adapters.labelled_images import read_pixels
from gsco_pacs.ports import Picture
from gsco_pacs.training.bundle_writer import rewrite_section
from gsco_pacs.training.task import read_cases, read_task


def build_index(
    bundle: Path, manifest: Path, task: Path, seed: int, progress: Callable[[int, int], None]
) -> Path:
    """Write index/ of a trained bundle from the split train and return the bundle's directory.

    The cases are shuffled by ``seed`` before they are numbered, so a key says nothing of a file's name or place; the
    patients are hashed with a fresh salt. ``progress`` is told (done, all).
    """
    specialist = load_bundle(bundle)
    cases = list(read_cases(manifest, read_task(task), "train"))
    order = np.random.default_rng(seed).permutation(len(cases))
    salt = secrets.token_hex(16)
    hashes = {group: patient_hash(group, salt) for group in {case.group for case in cases}}
    references, features = [], []
    for number, row in enumerate(order, start=1):
        case = cases[row]
        (look,) = specialist.look([Picture("", read_pixels(case.path))])
        features.append(look.features.astype(np.float16))
        key = f"{specialist.identity.name}-{number:04d}"
        references.append(ReferenceCase(key, case.labels, hashes[case.group]))
        progress(number, len(cases))
    (bundle / "index").mkdir(exist_ok=True)
    (bundle / FEATURES).write_bytes(save({"features": np.stack(features)}))
    (bundle / CASES).write_bytes(cases_as_json(references))
    rewrite_section(bundle, specialist.section.model_copy(update={"patient_salt": salt}))
    return bundle
