"""A specialist may see grey values evened out, so that the window in which a picture was saved says less."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.adapters.bundle_format import Tones
from gsco_pacs.adapters.network_input import toned

EVENED: tuple[Tones, ...] = ("equalised", "local")


def picture(seed: int, side: int = 64) -> torch.Tensor:
    """A smooth scene between 0.2 and 0.6, so that no change below cuts it off."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.random((1, 1, 8, 8), dtype=np.float32))
    return 0.2 + 0.4 * torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")[0, 0]


def test_values_as_shown_are_left_alone() -> None:
    assert torch.equal(toned(picture(1), "shown"), picture(1))


@pytest.mark.parametrize("tones", EVENED)
@given(seed=st.integers(0, 1000), gain=st.floats(0.8, 1.6), offset=st.floats(-0.15, 0.0))
def test_another_window_changes_little_of_what_is_seen(
    tones: Tones, seed: int, gain: float, offset: float
) -> None:
    scene = picture(seed)
    windowed = scene * gain + offset
    seen = (toned(windowed, tones) - toned(scene, tones)).abs().mean()
    assert seen < (windowed - scene).abs().mean() or seen < 0.03


@pytest.mark.parametrize("tones", EVENED)
def test_what_is_seen_stays_between_0_and_1_and_in_shape_for_grey_and_for_colours(tones: Tones) -> None:
    colours = torch.stack([picture(seed) for seed in (1, 2, 3)])
    for square in (picture(4), colours, torch.zeros(32, 32), torch.ones(32, 32)):
        seen = toned(square, tones)
        assert seen.shape == square.shape
        assert 0 <= float(seen.min()) <= float(seen.max()) <= 1


def test_equalising_keeps_the_order_of_grey_values() -> None:
    scene = picture(5)
    order = scene.flatten().argsort()
    seen = toned(scene, "equalised").flatten()[order]
    assert bool((seen.diff() >= -1e-6).all())


def test_a_plain_picture_has_no_surroundings_to_differ_from() -> None:
    assert torch.allclose(toned(torch.full((32, 32), 0.7), "local"), torch.tensor(0.5))
