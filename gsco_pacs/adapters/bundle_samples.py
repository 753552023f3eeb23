"""A bundle's proof that it works here: made-up pictures or volumes go in, and what came out where it was sealed must come out again."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from gsco_pacs.adapters.bundle_files import VerifiedFiles, write_sums
from gsco_pacs.adapters.bundle_format import EXPECTED, SAMPLES, segments
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.labelled_images import read_pixels
from gsco_pacs.adapters.segmentation_bundles import load_segmenter
from gsco_pacs.ports import Picture, Volume

TOLERANCE = 0.01
"""How far a probability, or a volume as a share of itself, may be off: another processor rounds differently."""

Answers = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Picture or volume -> member -> label -> probability, or the segment's volume in mm³."""


def seal(bundle: Path) -> Path:
    """Write samples/ with what each member makes of its pictures now, and SHA256SUMS over all that the node reads.

    The pictures are the PNG files that are there (volumes: NPZ with voxels and affine), else one made of numbers: never one
    of a patient.
    """
    write_sums(bundle)
    (bundle / SAMPLES).mkdir(exist_ok=True)
    if segments(bundle):
        if not list((bundle / SAMPLES).glob("*.npz")):
            made = _made_up_volume()
            voxels = made.voxels.astype(np.uint16)
            np.savez_compressed(bundle / SAMPLES / "sample.npz", voxels=voxels, affine=made.affine)
    elif not list((bundle / SAMPLES).glob("*.png")):
        _made_up().save(bundle / SAMPLES / "sample.png")
    content = {"tolerance": TOLERANCE, "expected": answers(bundle)}
    (bundle / EXPECTED).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_sums(bundle)
    return bundle


def answers(bundle: Path) -> Answers:
    """What each member says of each sample; BrokenBundleError if the bundle cannot be used."""
    if segments(bundle):
        return _volumes(bundle)
    members = load_bundle(bundle)
    said: dict[str, dict[str, dict[str, float]]] = {}
    for path in sorted((bundle / SAMPLES).glob("*.png")):
        for member in members:
            (look,) = member.look([Picture("", read_pixels(path, member.colours))])
            labels = (finding.label for finding in member.findings)
            numbers = (round(probability, 5) for probability in look.probabilities)
            said.setdefault(path.name, {})[member.identity.name] = dict(zip(labels, numbers, strict=True))
    return said


def _volumes(bundle: Path) -> Answers:
    segmenter = load_segmenter(bundle)
    said: dict[str, dict[str, dict[str, float]]] = {}
    for path in sorted((bundle / SAMPLES).glob("*.npz")):
        with np.load(path) as arrays:
            volume = Volume(arrays["voxels"].astype(np.float32), arrays["affine"], ())
        outlined = np.bincount(segmenter.segment(volume).ravel(), minlength=1 + len(segmenter.segments))
        each = abs(float(np.linalg.det(volume.affine[:3, :3])))
        sizes = (round(each * int(count), 1) for count in outlined[1:])
        labels = (segment.finding.label for segment in segmenter.segments)
        said[path.name] = {segmenter.identity.name: dict(zip(labels, sizes, strict=True))}
    return said


def sample_faults(bundle: Path) -> tuple[str, ...]:
    """Where the bundle's answers differ from the expected ones, in words; a bundle without a sample has that fault."""
    if not (bundle / EXPECTED).is_file():
        return (f"It has no {EXPECTED}: write one with `gsco-pacs models seal`.",)
    content = json.loads(VerifiedFiles(bundle).read(EXPECTED))
    expected: Answers = content["expected"]
    now, tolerance = answers(bundle), float(content["tolerance"])
    if {name: set(members) for name, members in expected.items()} != {n: set(m) for n, m in now.items()}:
        return (f"Its samples or members are not those of {EXPECTED}.",)
    relative = segments(bundle)
    return tuple(
        f"{member} says {label} {now[name][member].get(label, float('nan')):.3f} of {name}, expected {wanted:.3f}."
        for name, members in expected.items()
        for member, labels in members.items()
        for label, wanted in labels.items()
        if not abs(now[name][member].get(label, float("nan")) - wanted)
        <= tolerance * (wanted if relative else 1)
    )


def _made_up(rows: int = 240, columns: int = 200) -> Image.Image:
    """A grey picture with the coarse look of a body, the same on every machine."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = np.hypot(x / 0.9, y) < 1
    dark = (np.hypot((np.abs(x) - 0.42) / 0.3, y / 0.6) < 1).astype(float)
    spot = np.exp(-((x - 0.3) ** 2 + (y - 0.2) ** 2) / 0.02)
    grain = np.random.default_rng(7).normal(0, 6, (rows, columns))
    picture = body * (150 + 30 * y - 90 * dark + 70 * spot) + grain
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def _made_up_volume(shape: tuple[int, int, int] = (34, 48, 34)) -> Volume:
    """A bright long body with a brighter front end, axes right, front and head, 1 mm each; the same on every machine."""
    x, y, z = np.mgrid[tuple(slice(-(side - 1) / 2, (side + 1) / 2) for side in shape)]
    body = (x / 6) ** 2 + (y / 16) ** 2 + ((z - 3 * (y / 16) ** 2) / 6) ** 2 < 1
    grain = np.random.default_rng(7).normal(0, 20, shape)
    voxels = 300 + 250 * body + 80 * (body & (y > 2)) + grain
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Volume(voxels.clip(0).round().astype(np.float32), affine, ())
