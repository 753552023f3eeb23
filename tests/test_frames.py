"""Which frame an opinion rests on stands in the reports where the image has several and its SOP Class knows frames."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

from gsco_pacs.sr.frames import image_name
from gsco_pacs.sr.reading import as_text
from gsco_pacs.sr.validate import errors_in
from tests.draft_material import header, parts


def frames_named(ds: Dataset) -> Iterator[int]:
    """Every Referenced Frame Number of the tree."""
    for element in ds.iterall():
        if element.keyword == "ReferencedFrameNumber":
            yield int(element.value)


@pytest.mark.parametrize(
    ("sop_class", "named"), [(UltrasoundMultiFrameImageStorage, {7}), (UltrasoundImageStorage, set())]
)
def test_the_frame_is_named_where_its_class_knows_frames_and_the_reports_are_valid(
    sop_class: str, named: set[int]
) -> None:
    loop = header(SOPClassUID=sop_class, Modality="US", NumberOfFrames=9)
    made = parts(loop)
    opinions = tuple(replace(opinion, frame=7) for opinion in made.consultation.opinions)
    made = replace(made, consultation=replace(made.consultation, opinions=opinions))
    narrative, coded, selection = made.all_composed()
    assert [errors_in(report.content) for report in (narrative, coded, selection)] == [[], [], []]
    trees = [dcmread(BytesIO(report.content)) for report in (coded, selection)]
    assert [set(frames_named(tree)) for tree in trees] == [named, named]
    assert "image 1 frame 7" in as_text(selection.content)


def test_an_image_without_numbers_is_named_by_question_marks() -> None:
    assert image_name(header(SeriesNumber=None)) == "series ? image 1"
    unnumbered = Dataset()
    unnumbered.SeriesNumber = unnumbered.InstanceNumber = None
    assert image_name(unnumbered, 1) == "series ? image ?"
