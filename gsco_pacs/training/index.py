"""Builds a specialist's case index from the training split."""

import secrets
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from gsco_pacs.adapters.bundle_format import CASES, FEATURES
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.case_index import ReferenceCase, cases_as_json, patient_hash
from gsco_pacs.adapters.labelled_images import read_images, read_pixels
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.ports import Picture
from gsco_pacs.training.bundle_writer import rewrite_section


def build_index(bundle: Path, manifest: Path, progress: Told) -> Path:
    """Write index/ of a trained bundle from the split train and return the bundle's directory.

    The cases are shuffled before they are numbered, so a key says nothing of a file's name or place; the patients are
    hashed with a fresh salt. Both are drawn anew each time.
    """
    specialist = load_bundle(bundle)[0]
    section = specialist.section
    cases = list(read_images(manifest, section.module, "train", [entry.label for entry in section.labels]))
    secrets.SystemRandom().shuffle(cases)
    salt = secrets.token_hex(16)
    hashes = {group: patient_hash(group, salt) for group in {case.group for case in cases}}
    references, features = [], []
    for number, case in enumerate(cases, start=1):
        (look,) = specialist.look([Picture("", read_pixels(case.path))])
        features.append(look.features.astype(np.float16))
        key = f"{specialist.identity.name}-{number:04d}"
        references.append(ReferenceCase(key, case.labels, hashes[case.group]))
        progress(number, len(cases), "")
    (bundle / "index").mkdir(exist_ok=True)
    (bundle / FEATURES).write_bytes(save({"features": np.stack(features)}))
    (bundle / CASES).write_bytes(cases_as_json(references))
    rewrite_section(bundle, {"patient_salt": salt})
    return bundle
