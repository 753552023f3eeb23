"""Where a specialist looked: the map of a network that is made to look at one thing, and the pictures made of maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from torch import nn

from gsco_pacs.adapters.bundle_format import GscoSection, LabelEntry, PrepareEntry
from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.network_input import unsquared
from gsco_pacs.adapters.saliency import activation_map
from gsco_pacs.config import shipped
from gsco_pacs.consultation import consult_stage
from gsco_pacs.domain.errors import BadObjectError, NotApplicableError
from gsco_pacs.domain.findings import Finding, ModelIdentity, ObjectKind, Opinion, Report, SimilarCase
from gsco_pacs.pixels.display import display
from gsco_pacs.pixels.heat import coloured, heat_page
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.ports import InputContract, Look, Picture, Pooling, Thresholds
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.steps.explain import Viewing, explain
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.synthetic import DEFAULT_SEED, make_synthetic_study
from tests.draft_material import CARDIOMEGALY, EDEMA, EFFUSION, NORMAL, header
from tests.stored_images import origin_of, stored_file
from tests.test_evidence import origin, read_back


class Contrast(nn.Module):
    """A network made, not trained: its first output sees what is brighter than grey, its second what is darker."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(1, 2, 1)
        self.rectify = nn.ReLU(inplace=True)
        self.thin = nn.AvgPool2d(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            self.see.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            self.see.bias.copy_(torch.tensor([-0.6, 0.4]))  # type: ignore[union-attr]
            self.last.weight.copy_(torch.eye(2))
            self.last.bias.zero_()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(self.thin(self.rectify(self.see(inputs)))).flatten(1)
        return self.last(pooled)  # type: ignore[no-any-return]


def section(fit: str = "stretch", *, transpose: bool = False, **changes: Any) -> GscoSection:
    code = {"value": "1", "scheme": "99TEST", "meaning": "Something"}
    calibration = {"slope": 1, "intercept": 0, "absent_below": 0.1, "present_from": 0.5, "balanced_at": 0.5}
    labels = [
        LabelEntry.model_validate({"label": label, "text": label.lower(), "code": code} | calibration)
        for label in ("Bright", "Dark")
    ]
    prepare = PrepareEntry.model_validate(
        {"size": 64, "mean": 0, "std": 1, "fit": fit, "transpose": transpose}
    )
    words = {"title": "t", "region": "r", "modality_phrase": "x", "module": "m", "task": "multi-label"}
    return GscoSection.model_validate({**words, "input": {}, "prepare": prepare, "labels": labels, **changes})


def specialist(network: nn.Module | None = None, **changes: Any) -> BundleSpecialist:
    identity = ModelIdentity("contrast", "1", "0" * 64)
    return BundleSpecialist(identity, section(**changes), network or Contrast(), None)


def planted(
    rows: int, columns: int, bright: tuple[int, int], dark: tuple[int, int], side: int
) -> NDArray[np.float32]:
    pixels = np.full((rows, columns), 0.5, np.float32)
    for value, (top, left) in ((1.0, bright), (0.0, dark)):
        pixels[top : top + side, left : left + side] = value
    return pixels


def within(heat: NDArray[np.float32], shape: tuple[int, ...], corner: tuple[int, int], side: int) -> float:
    """The mean heat inside a square of the picture; the map may be smaller than the picture."""
    scale = heat.shape[0] / shape[0]
    top, left = (round(place * scale) for place in corner)
    return float(heat[top : round(top + side * scale), left : round(left + side * scale)].mean())


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([(96, 64), (64, 96), (80, 80), (700, 500)]),
    st.sampled_from(["stretch", "pad"]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.booleans(),
)
def test_the_map_is_hot_where_the_thing_lies_in_pictures_of_any_shape(
    shape: tuple[int, int], fit: str, row: int, column: int, transpose: bool
) -> None:
    rows, columns = shape
    side = min(shape) // 4
    bright = (row * (rows - side) // 2, column * (columns - side) // 2)
    dark = (rows - side - bright[0], columns - side - bright[1])
    if (row, column) == (1, 1):
        dark = (0, 0)
    pixels = planted(rows, columns, bright, dark, side)
    asked = specialist(fit=fit, transpose=transpose)
    shown = {label: asked.explain(Picture("1", pixels), label) for label in ("Bright", "Dark")}
    for label, here, there in (("Bright", bright, dark), ("Dark", dark, bright)):
        heat = shown[label]
        assert heat.max() == pytest.approx(1)
        assert heat.min() >= 0
        assert max(heat.shape) == min(512, max(shape))
        assert within(heat, shape, here, side) > 0.5
        assert within(heat, shape, there, side) < 0.2
        assert within(heat, shape, here, side) > 3 * heat.mean()


def test_a_network_is_left_as_it_was_found() -> None:
    asked = specialist()
    picture = Picture("1", planted(64, 64, (8, 8), (40, 40), 16))
    before = asked.look([picture])[0].probabilities
    asked.explain(picture, "Bright")
    assert asked.look([picture])[0].probabilities == before
    network = asked._network
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_bundle_can_name_the_layer_that_is_explained() -> None:
    picture = torch.from_numpy(planted(64, 64, (8, 8), (40, 40), 16))[None, None]
    assert activation_map(Contrast(), picture, 0).shape == (16, 16)
    assert activation_map(Contrast(), picture, 0, "see").shape == (64, 64)


class Flat(nn.Module):
    """No trunk at all: every pixel goes into one sum."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64 * 64, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(inputs.flatten(1))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """A transformer: a convolution cuts the picture into tokens, and what is pooled has no rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, 8, 16, stride=16)
        self.mix = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = nn.Linear(8, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        tokens = self.cut(inputs).flatten(2).transpose(1, 2)
        return self.last(self.mix(tokens).mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("network", [Flat, Tokens])
def test_a_network_without_a_convolutional_trunk_says_so(network: type[nn.Module]) -> None:
    with pytest.raises(NotApplicableError, match="no feature map"):
        specialist(network()).explain(Picture("1", np.ones((64, 64), np.float32)), "Bright")


def test_where_nothing_speaks_for_a_finding_there_is_no_map() -> None:
    with pytest.raises(NotApplicableError, match="Nothing in the picture"):
        specialist().explain(Picture("1", np.zeros((64, 64), np.float32)), "Bright")


def test_the_padding_of_a_picture_is_not_part_of_its_map() -> None:
    coarse = np.zeros((8, 8), np.float32)
    coarse[:, :2] = 1  # beside a picture that is half as wide as high
    coarse[:, 4] = 0.5
    heat = unsquared(coarse, (100, 50), "pad")
    assert heat.shape == (100, 50)
    assert np.argmax(heat.mean(axis=0)) == pytest.approx(31, abs=3)


def test_the_chest_specialist_looks_at_other_places_for_other_findings(tmp_path: Path) -> None:
    chest = load_bundle(shipped("models") / "cxr_findings")[0]
    make_synthetic_study(DEFAULT_SEED, 512).save_as(tmp_path / "chest.dcm", enforce_file_format=True)
    picture = Picture("1", display(open_image(tmp_path / "chest.dcm"), 1))
    maps = [chest.explain(picture, label) for label in ("Cardiomegaly", "Pneumothorax")]
    assert all(heat.shape == picture.pixels.shape for heat in maps)
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] < 0.7


def test_a_page_shows_the_picture_where_it_is_cold_and_colour_where_it_is_hot() -> None:
    heat = np.zeros((40, 30), np.float32)
    heat[:10] = 1
    page = heat_page(np.full((40, 30), 0.5, np.float32), heat, "BANNER", "Title", ("A line.",))
    hot, cold = (page[106 + 768 * place // 40, 24 + 96 + 288] for place in (4, 30))
    assert list(cold) == [128, 128, 128]
    assert np.abs(hot.astype(float) - coloured(np.ones(1, np.float32))).max() < 60
    assert page.shape[2] == 3
    lightness = coloured(np.linspace(0, 1, 20, dtype=np.float32)) @ (0.299, 0.587, 0.114)
    assert (np.diff(lightness) > 0).all()


ANY = InputContract((), (), (), (), 1, 1, 4)


@dataclass
class Pointer:
    """A specialist with ready opinions, that points at the top left of the picture it is asked about."""

    name: str
    probabilities: dict[Finding, float]
    most_maps: int = 3
    contract: InputContract = ANY
    refusal: Exception | None = None
    asked: list[str] = field(default_factory=list)
    examines: str = "chest X-ray"
    bundle: str = "drawn"
    familiar_from: float | None = None

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(self.name, "1.0", "ab" * 32)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self.probabilities)

    @property
    def pooling(self) -> Pooling:
        return Pooling()

    @property
    def thresholds(self) -> tuple[Thresholds, ...]:
        return (Thresholds(0.1, 0.5),) * len(self.probabilities)

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        return tuple(Look(tuple(self.probabilities.values()), np.ones(1, np.float32)) for _ in pictures)

    def similar(self, look: Look, k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        return ()

    def explain(self, picture: Picture, label: str) -> NDArray[np.float32]:
        self.asked.append(label)
        if self.refusal:
            raise self.refusal
        heat = np.zeros((16, 12), np.float32)
        heat[:8, :6] = 1
        return heat


IMAGE = header(1, 1, Rows=32, Columns=24)


def viewing(pointer: Pointer) -> Viewing:
    uid = str(IMAGE.SOPInstanceUID)
    picture = Picture(uid, np.full((32, 24), 0.5, np.float32))
    opinions = tuple(
        Opinion(pointer.name, finding, p, 0.1, 0.5, uid) for finding, p in pointer.probabilities.items()
    )
    return Viewing(pointer, ((picture, pointer.look([picture])[0]),), opinions)


def explained(*pointers: Pointer, wanted: Any = "capture") -> list[Report]:
    made, missing = explain([viewing(p) for p in pointers], wanted, origin(IMAGE), lambda _: IMAGE)
    assert missing == ()
    return [report for _, report in made]


def test_what_is_held_present_is_shown_likeliest_first_and_not_more_than_the_bundle_allows() -> None:
    pointer = Pointer("a", {EFFUSION: 0.6, CARDIOMEGALY: 0.9, EDEMA: 0.3, NORMAL: 0.95})
    assert [read_back(report).InstanceNumber for report in explained(pointer)] == [1, 2]
    assert pointer.asked == ["Cardiomegaly", "Effusion"]
    pointer = replace(pointer, most_maps=1, asked=[])
    explained(pointer)
    assert pointer.asked == ["Cardiomegaly"]


def test_of_findings_that_exclude_one_another_the_likeliest_is_shown_unless_it_is_the_normal_one() -> None:
    alone = {finding: replace(finding, exclusive=True) for finding in (EFFUSION, EDEMA, NORMAL)}
    leading = Pointer("a", {alone[EFFUSION]: 0.45, alone[EDEMA]: 0.2, alone[NORMAL]: 0.35})
    explained(leading)
    assert leading.asked == ["Effusion"]
    assert explained(Pointer("a", {alone[EFFUSION]: 0.3, alone[NORMAL]: 0.7})) == []


def test_of_the_members_of_a_bundle_the_surest_draws_and_a_specialist_of_another_bundle_draws_too() -> None:
    first, second = Pointer("a.1", {EFFUSION: 0.6, EDEMA: 0.8}), Pointer("a.2", {EFFUSION: 0.7, EDEMA: 0.2})
    other = Pointer("b", {EFFUSION: 0.55}, bundle="of the same contract")
    numbers = [read_back(report).InstanceNumber for report in explained(first, second, other)]
    assert (first.asked, second.asked, other.asked) == (["Edema"], ["Effusion"], ["Effusion"])
    assert len(set(numbers)) == 3


def test_a_route_can_do_without_and_with_maps() -> None:
    pointer = Pointer("a", {EFFUSION: 0.6})
    assert explained(pointer, wanted="none") == []
    assert pointer.asked == []
    page, heat = explained(pointer, wanted="capture+map")
    assert (page.kind, heat.kind) == (ObjectKind.CAPTURE, ObjectKind.PARAMETRIC_MAP)


def test_a_map_reads_back_with_its_values_its_codes_and_its_image() -> None:
    _, report = explained(Pointer("a", {EFFUSION: 0.6}), wanted="capture+map")
    document = read_back(report)
    values = document.pixel_array
    assert values.dtype == np.float32
    assert values.shape == (32, 24)
    assert values[:14, :10].min() > 0.9
    assert values[18:, 14:].max() < 0.1
    shared = document.SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130402"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    derived = document.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert derived.DerivationCodeSequence[0].CodeValue == "130401"
    assert derived.SourceImageSequence[0].ReferencedSOPInstanceUID == IMAGE.SOPInstanceUID


def test_a_map_of_a_slice_lies_in_its_images_space_and_one_of_a_radiograph_in_a_space_of_its_own() -> None:
    (_, radiograph) = explained(Pointer("a", {EFFUSION: 0.6}), wanted="capture+map")
    first, second = (
        read_back(radiograph),
        read_back(explained(Pointer("b", {EFFUSION: 0.6}), wanted="capture+map")[1]),
    )
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    placed = header(
        1, 1, Rows=32, Columns=24, FrameOfReferenceUID="1.2.3.4", ImagePositionPatient=[1, 2, 3],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1], PixelSpacing=[0.5, 0.6],
    )  # fmt: skip
    made, _ = explain(
        [viewing(Pointer("a", {EFFUSION: 0.6}))], "capture+map", origin(placed), lambda _: placed
    )
    document = read_back(made[1][1])
    assert document.FrameOfReferenceUID == "1.2.3.4"
    shared = document.SharedFunctionalGroupsSequence[0]
    assert shared.PlanePositionSequence[0].ImagePositionPatient == [1, 2, 3]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [0, 1, 0, 0, 0, -1]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.6]


def test_no_name_and_no_number_of_the_patient_is_drawn() -> None:
    (page,) = explained(Pointer("a", {EFFUSION: 0.6}))
    anonymous = header(
        1, 1, Rows=32, Columns=24, PatientName="Other^Name", PatientID="X-9", AccessionNumber="Z"
    )
    made, _ = explain([viewing(Pointer("a", {EFFUSION: 0.6}))], "capture", origin(IMAGE), lambda _: anonymous)
    assert read_back(page).PixelData == read_back(made[0][1]).PixelData


def test_a_specialist_that_cannot_show_it_says_so_and_one_that_breaks_makes_the_draft_partial() -> None:
    for refusal, failed in ((NotApplicableError("No trunk."), False), (BadObjectError("Broken."), True)):
        made, (missing,) = explain(
            [viewing(Pointer("a", {EFFUSION: 0.6}, refusal=refusal))],
            "capture",
            origin(IMAGE),
            lambda _: IMAGE,
        )
        assert made == ()
        assert (missing.subject, missing.failed) == ("a", failed)
        assert missing.reason.startswith("No heat map of pleural effusion.")


def test_the_consult_stage_hands_out_the_captures_that_its_consultation_names(tmp_path: Path) -> None:
    ds: Dataset = make_dx()
    (tmp_path / "chest.dcm").write_bytes(encoded(ds))
    stored = stored_file(tmp_path / "chest.dcm", str(ds.SOPInstanceUID))
    route = RouteSettings.model_validate(
        {
            "name": "r",
            "when": {"tag": "Modality", "equals": "DX"},
            "specialists": ["a"],
            "destinations": ["d"],
        }
    )
    consultation, (report,) = consult_stage(
        [stored], [Pointer("a", {EFFUSION: 0.6, NORMAL: 0.2})], route, origin_of(stored)
    )
    (evidence,) = consultation.evidence
    assert (evidence.sop_instance_uid, evidence.kind) == (report.sop_instance_uid, ObjectKind.CAPTURE)
    assert evidence.sources == (str(ds.SOPInstanceUID),)
    assert consultation.shown("a", "Effusion") == (evidence,)
    assert consultation.shown("a", NORMAL.label) == consultation.shown("b", "Effusion") == ()
    again = consult_stage([stored], [Pointer("a", {EFFUSION: 0.6})], route, origin_of(stored))[1]
    assert again == (report,)
