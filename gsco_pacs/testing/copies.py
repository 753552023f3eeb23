"""Whether a synthetic radiograph is a copy of somebody's: the comparison with every training image, as a table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gsco_pacs.config import shipped
from gsco_pacs.testing.chest_generator import load_generator
from gsco_pacs.training.copy_check import check_copies


def measure_copies(manifest: Path, seeds: Sequence[int]) -> str:
    """Markdown: by each measure the nearest training image of the samples, beside real images of different patients."""
    generator = load_generator(shipped("models") / "synthetic_chest")
    found = check_copies(np.stack([generator.sample(seed) for seed in seeds]), manifest)
    rows = [
        f"| {each.measure} | {max(each.samples):.3f} | {each.limit:.3f} | {sum(each.passed)} of {len(seeds)} |"
        for each in found
    ]
    return "\n".join(
        [
            f"n = {len(seeds)} samples against {len(found[0].real)} training images", "",
            "| measure | nearest of all samples | limit (95 % of real images of other patients) | no nearer than the limit |",
            "| --- | --- | --- | --- |", *rows, "",
        ]
    )  # fmt: skip
