"""Synthetic chest studies: for the demo, the benches and the tests, because the repository holds nobody's images."""

from pydicom.dataset import Dataset

from gsco_pacs.config import shipped
from gsco_pacs.testing.chest_generator import SIZE, exposed, load_generator
from gsco_pacs.testing.radiograph import synthetic_dx

DEFAULT_SEED = 23
"""The demo's study, chosen by eye (docs/synthetic.md)."""


def make_synthetic_study(seed: int, size: int = SIZE) -> Dataset:
    """A study of one synthetic PA chest radiograph of size x size pixels; equal seeds give equal objects on one machine.

    BrokenBundleError if the generator's weights are not the listed ones.
    """
    radiograph = load_generator(shipped("models") / "synthetic_chest").sample(seed)
    return synthetic_dx(exposed(radiograph, seed, size), seed)
