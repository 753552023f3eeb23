"""Objects made to exhaust whoever reads them: refused while they are received, at no more than they weigh."""

import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.domain.encoded import MAXIMUM_ELEMENTS, top_level_elements
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.pixels.opening import check_size, open_image
from gsco_pacs.settings.decoding import Decoding
from tests.stored_images import asymmetric, written

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = ((0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))
MANY = MAXIMUM_ELEMENTS + 1


def delimiter(tag: tuple[int, int], length: int = 0) -> bytes:
    return struct.pack("<HHL", *tag, length)


def sequence(content: bytes, length: int, *, explicit: bool = True) -> bytes:
    head = (0x0029, 0x1010)
    begin = struct.pack("<HH2s2xL", *head, b"SQ", length) if explicit else delimiter(head, length)
    return begin + content


def bombs() -> Iterator[tuple[str, bool, bytes]]:
    items = MANY * delimiter(ITEM)
    elements = MANY * struct.pack("<HH2sH", 0x0029, 0x1001, b"LO", 0)
    one_item = delimiter(ITEM, len(elements)) + elements
    yield "elements", True, elements
    yield "items, implicit", False, sequence(items, len(items), explicit=False)
    yield "items, undefined", True, sequence(items + delimiter(SEQUENCE_END), UNDEFINED)
    yield "elements of an item", True, sequence(one_item, len(one_item))
    yield "a sequence in a sequence", True, sequence(delimiter(ITEM, 12 + len(items)) + sequence(items, len(items)), 20 + len(items))  # fmt: skip


BOMBS = list(bombs())


@pytest.mark.parametrize(("explicit", "data_set"), [bomb[1:] for bomb in BOMBS], ids=[b[0] for b in BOMBS])
def test_more_elements_than_any_real_object_has_are_refused_without_memory(
    explicit: bool, data_set: bytes
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadObjectError, match="more than 1000000 elements"):
        top_level_elements(memoryview(data_set), explicit=explicit, wanted=())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


@given(st.binary(max_size=200), st.booleans())
def test_junk_in_a_sequence_of_known_length_is_nobodys_failure(junk: bytes, explicit: bool) -> None:
    content = delimiter(ITEM) + junk
    data_set = sequence(content, len(content), explicit=explicit)
    assert top_level_elements(data_set, explicit=explicit, wanted=()) == {}


def test_more_frames_than_may_be_are_refused_although_there_is_room_for_them(tmp_path: Path) -> None:
    path = written(tmp_path / "image", np.stack([asymmetric()] * 11))
    with pytest.raises(BadObjectError, match="Number of Frames: more than 10"):
        check_size(open_image(path), Decoding(frames=10))
