"""Orders to the generalist: none from a header reaches a prompt, and what those in an image do can be measured."""

import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from typer.testing import CliRunner

from gsco_pacs.adapters.structured_generalist import StructuredGeneralist
from gsco_pacs.cli import app
from gsco_pacs.datasets.registry import data_set
from gsco_pacs.domain.findings import Mode, Presence
from gsco_pacs.evaluation.injection import (
    ORDER,
    WRITINGS,
    Reaction,
    Writing,
    reactions,
    sample,
    table,
    written,
)
from gsco_pacs.ports import Picture
from gsco_pacs.steps.brief import VERSIONS, brief
from tests.briefing_material import FINDINGS
from tests.evaluation_material import Guesser, Parrot, write_cases
from tests.test_brief import consulted

FREE_TEXT = sorted(
    keyword
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items()
    if vr in ("LO", "SH", "ST", "LT", "PN", "UT", "UC") and keyword and not retired and tag > 0x00080000
)
VISIBLE, SHUFFLED, CORNER, FAINT = WRITINGS


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, Mode], object]:
    """Every briefing about the study without anybody's text."""
    told = consulted(tmp_path_factory.mktemp("plain") / "plain.dcm")
    return {
        (template, mode): brief(told, FINDINGS, mode, template) for template, mode in product(VERSIONS, Mode)
    }


@given(
    keywords=st.lists(st.sampled_from(FREE_TEXT), min_size=1, max_size=30, unique=True),
    text=st.one_of(
        st.just(ORDER), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
    ),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_whichever_attribute_of_free_text_every_briefing_is_the_same(
    plain: dict[tuple[str, Mode], object], tmp_path: Path, keywords: list[str], text: str
) -> None:
    told = consulted(tmp_path / "poisoned.dcm", **dict.fromkeys(keywords, text))
    for (template, mode), briefing in plain.items():
        assert brief(told, FINDINGS, mode, template) == briefing


def grey(shape: tuple[int, ...] = (400, 300)) -> Picture:
    return Picture("1", np.full(shape, 0.4, np.float32))


@pytest.mark.parametrize("writing", WRITINGS, ids=lambda writing: writing.name)
@pytest.mark.parametrize("shape", [(400, 300), (400, 300, 3), (28, 28)])
def test_text_is_written_where_and_as_strongly_as_its_way_says(
    writing: Writing, shape: tuple[int, ...]
) -> None:
    made, clean = written(grey(shape), writing).pixels, grey(shape).pixels
    changed = np.argwhere((made != clean).reshape(*shape[:2], -1).any(axis=2))
    assert made.shape == clean.shape
    assert made.dtype == np.float32
    assert clean.max() < made.max() <= 0.4 + writing.strength * 0.6 + 1e-6
    if shape[0] == 400:
        assert bool(changed[:, 0].max() < 60) is (writing is CORNER)
        assert bool(changed[:, 0].min() < 60) is (writing in (CORNER, FAINT))


def test_shuffled_letters_are_as_much_ink_and_say_nothing() -> None:
    one, other = (written(grey(), way).pixels for way in (VISIBLE, SHUFFLED))
    assert one.sum() == pytest.approx(other.sum(), rel=0.01)
    assert not np.array_equal(one, other)


def measured(folder: Path, generalist: Parrot | StructuredGeneralist) -> dict[str, list[Reaction]]:
    cases = tuple(data_set("manifest/mr").read(write_cases(folder), "test"))
    return reactions(sample(cases, "test", 4), "test", [Guesser()], generalist, lambda *_: None)


def test_a_generalist_that_repeats_the_specialists_changes_only_where_they_do(tmp_path: Path) -> None:
    found = measured(tmp_path, Parrot())
    assert set(found) == {"", *(writing.name for writing in WRITINGS)}
    for name, reacted in found.items():
        for clean, one in zip(found[""], reacted, strict=True):
            assert (one.briefed != clean.briefed) is (one.held != clean.held), name
    rows = table(found, frozenset({"none"})).splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == ["none", *(w.name for w in WRITINGS)]
    assert {row.split(" | ")[-1].strip(" |") for row in rows[2:]} == {"0/4: 0 % (0–49)"}


def test_a_finding_that_is_lost_and_a_draft_that_departs_are_counted() -> None:
    held = {"Mass": Presence.PRESENT}
    drafted = ((("Mass",), Presence.PRESENT),)
    clean = Reaction(held, strange=False, alone=(), briefed=("Mass",), drafted=drafted)
    fooled = dataclasses.replace(clean, held={"Mass": Presence.ABSENT}, briefed=(), strange=True)
    row = table({"": [clean]} | {w.name: [fooled] for w in WRITINGS}, frozenset()).splitlines()[3]
    assert [cell.split(":")[0].strip() for cell in row.split("|")[2:-1]] == [
        "1/1",
        "1/1",
        "1/1",
        "0/1",
        "1/1",
        "1/1",
    ]


def test_the_command_prints_a_table_for_each_data_set(tmp_path: Path) -> None:
    manifest = write_cases(tmp_path)
    (tmp_path / "none").mkdir()
    command = ["evaluate", "injection", "--dataset", "mr", "--manifest", str(manifest), "--per-task", "1"]
    done = CliRunner().invoke(app, [*command, "--bundles", str(tmp_path / "none")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "### manifest/mr" in done.output
    assert "| visible, letters shuffled |" in done.output
