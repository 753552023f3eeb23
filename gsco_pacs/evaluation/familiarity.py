"""How many images of each module of a manifest a bundle assesses, and how many are strange to it (`familiar_from`)."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gsco_pacs.adapters.bundles import BundleSpecialist
from gsco_pacs.adapters.labelled_images import LabelledImage, Split, modules_of, read_images, read_pixels
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.evaluation.page import table
from gsco_pacs.ports import Picture
from gsco_pacs.steps.consult import consult


@dataclass(frozen=True)
class Kept:
    """What became of the images of one module."""

    bundle: str
    module: str
    own: bool
    """Whether the bundle was trained on this module."""
    n: int
    kept: int


@dataclass(frozen=True)
class Asked:
    """A bundle's member with the case index, and the module that it was trained on."""

    specialist: BundleSpecialist
    module: str


def familiarity(
    asked: Sequence[Asked], manifest: Path, split: Split, n: int, progress: Told
) -> tuple[Kept, ...]:
    """Every bundle on at most ``n`` images of every module, the same ones for all; drawn by chance, always in the same way."""
    drawn = {
        module: _drawn(read_images(manifest, module, split, None), n)
        for module in modules_of(manifest, split)
    }
    steps, done = len(asked) * sum(map(len, drawn.values())), 0
    found = []
    for one in asked:
        for module, images in drawn.items():
            kept = sum(_assessed(one.specialist, image) for image in images)
            found.append(Kept(one.specialist.bundle, module, module == one.module, len(images), kept))
            done += len(images)
            progress(done, steps, "")
    return tuple(found)


def _drawn(images: Sequence[LabelledImage], n: int) -> list[LabelledImage]:
    return sorted(images, key=lambda image: hashlib.sha256(str(image.path.name).encode()).digest())[:n]


def _assessed(specialist: BundleSpecialist, image: LabelledImage) -> bool:
    """Whether the node would let the bundle assess the image."""
    picture = Picture(image.path.name, read_pixels(image.path, specialist.colours))
    return bool(consult(specialist, (picture,), image.group).looks)


def familiarity_table(found: Sequence[Kept], split: Split) -> str:
    """A row a module, a column a bundle: images assessed of those shown; a bundle's own module is bold."""
    bundles = [each.bundle for each in found if each.module == found[0].module]
    rows = [[module, *_row(found, module)] for module in dict.fromkeys(each.module for each in found)]
    return table([f"images, split {split}", *bundles], rows)


def _row(found: Sequence[Kept], module: str) -> Iterator[str]:
    for each in found:
        if each.module == module:
            text = f"{each.kept} of {each.n}"
            yield f"**{text}**" if each.own else text
