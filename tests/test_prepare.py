import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, uid

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.pixels.choice import spread
from gsco_pacs.pixels.decoding import IN_PROCESS
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.pixels.rendering import png
from gsco_pacs.ports import InputContract
from gsco_pacs.steps.prepare import prepare
from gsco_pacs.testing.phantoms import make_ct, make_dx
from tests.decoder_table import packaged
from tests.stored_images import asymmetric, packaged_file, shown, stored_file, written

ANYTHING = InputContract((), (), (), (), 1, 1, 1000)
CHEST = InputContract(
    ("CR", "DX"),
    (uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation),
    ("CHEST", "THORAX"),
    ("PA", "AP"),
    32,
    32,
    4,
)
RAMP = np.arange(4096).reshape(64, 64)


def saved(folder: Path, name: str, ds: Dataset) -> Path:
    ds.save_as(folder / name, enforce_file_format=True)
    return folder / name


def sequence(**attributes: Any) -> list[Dataset]:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return [item]


def lut(first: int, entries: list[int], bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return [item]


# The display pipeline


def test_a_picture_is_upright_and_white_is_1(tmp_path: Path) -> None:
    stored = asymmetric()
    picture = shown(written(tmp_path / "image", stored, WindowCenter=2048, WindowWidth=4096))
    assert picture.dtype == np.float32
    assert picture.shape == (48, 40)
    assert np.allclose(picture, stored / 4095, atol=1e-6)


def linear(x: float, c: float, w: float) -> float:
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    return 1.0 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5


def linear_exact(x: float, c: float, w: float) -> float:
    if x <= c - w / 2:
        return 0.0
    return 1.0 if x > c + w / 2 else (x - c) / w + 0.5


def sigmoid(x: float, c: float, w: float) -> float:
    return float(1 / (1 + np.exp(-4 * (x - c) / w)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    formula=st.sampled_from([("LINEAR", linear), ("LINEAR_EXACT", linear_exact), ("SIGMOID", sigmoid)]),
    center=st.integers(100, 3900),
    width=st.integers(1, 5000),
)
def test_windows_follow_the_formulas_of_the_standard(
    tmp_path: Path, formula: tuple[str, Any], center: int, width: int
) -> None:
    name, function = formula
    path = written(tmp_path / "image", RAMP, WindowCenter=center, WindowWidth=width, VOILUTFunction=name)
    expected = np.array([function(float(x), center, width) for x in RAMP.ravel()]).reshape(64, 64)
    assert np.allclose(shown(path), expected, atol=2e-5)


def test_the_first_of_several_windows_is_taken(tmp_path: Path) -> None:
    both = written(tmp_path / "both", RAMP, WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    first = written(tmp_path / "first", RAMP, WindowCenter=1000, WindowWidth=500)
    assert np.array_equal(shown(both), shown(first))


def test_a_window_is_applied_after_the_rescale(tmp_path: Path) -> None:
    path = written(
        tmp_path / "image", RAMP, RescaleSlope=0.5, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=200
    )
    expected = [[linear(0.5 * x - 1024, 0, 200) for x in row] for row in RAMP]
    assert np.allclose(shown(path), expected, atol=1e-5)


def test_a_negative_rescale_slope_turns_the_picture_over(tmp_path: Path) -> None:
    path = written(
        tmp_path / "image", RAMP, RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=2048, WindowWidth=4096
    )
    assert np.allclose(shown(path), 1 - RAMP / 4095, atol=1e-5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), center=st.integers(500, 3500), width=st.integers(300, 4000))
def test_monochrome1_is_the_inverse_of_monochrome2(
    tmp_path: Path, seed: int, center: int, width: int
) -> None:
    stored = np.random.default_rng(seed).integers(0, 4096, (16, 16))
    window: dict[str, Any] = {"WindowCenter": center, "WindowWidth": width}
    black_is_low = shown(written(tmp_path / "2", stored, **window))
    white_is_low = shown(written(tmp_path / "1", stored, PhotometricInterpretation="MONOCHROME1", **window))
    assert np.allclose(white_is_low, 1 - black_is_low, atol=1e-6)


def test_the_presentation_lut_shape_of_an_image_inverts_nothing_a_second_time(tmp_path: Path) -> None:
    plain: dict[str, Any] = {
        "WindowCenter": 2048,
        "WindowWidth": 4096,
        "PhotometricInterpretation": "MONOCHROME1",
    }
    shaped = written(tmp_path / "shaped", RAMP, PresentationLUTShape="INVERSE", **plain)
    assert np.array_equal(shown(shaped), shown(written(tmp_path / "plain", RAMP, **plain)))


def test_a_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    squares = [min(65535, i * i // 64) for i in range(4096)]
    path = written(
        tmp_path / "image",
        RAMP,
        ModalityLUTSequence=lut(0, squares, 16),
        WindowCenter=30000,
        WindowWidth=20000,
    )
    expected = [[linear(squares[x], 30000, 20000) for x in row] for row in RAMP]
    assert np.allclose(shown(path), expected, atol=1e-5)


def test_a_voi_lut_is_preferred_to_a_window_and_holds_its_end_values(tmp_path: Path) -> None:
    path = written(
        tmp_path / "image",
        RAMP,
        VOILUTSequence=lut(1000, [0, 64, 128, 255], 8),
        WindowCenter=1,
        WindowWidth=1,
    )
    expected = np.array([0, 64, 128, 255])[np.clip(RAMP - 1000, 0, 3)] / 255
    assert np.allclose(shown(path), expected)


def test_a_voi_lut_of_8_bits_may_have_more_than_256_entries(tmp_path: Path) -> None:
    path = written(tmp_path / "image", RAMP, VOILUTSequence=lut(0, [i // 16 for i in range(4096)], 8))
    assert np.allclose(shown(path), RAMP // 16 / 255)


def test_a_voi_lut_may_begin_below_zero(tmp_path: Path) -> None:
    path = written(
        tmp_path / "image", RAMP - 2048, VOILUTSequence=lut(-2048, [16 * i for i in range(4096)], 16)
    )
    assert np.allclose(shown(path), 16 * RAMP / 65535, atol=1e-6)


def test_a_lut_that_is_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    table = lut(0, [1, 2, 3], 8)
    table[0].LUTDescriptor = [4096, 0, 8]
    with pytest.raises(BadObjectError, match="fewer entries"):
        shown(written(tmp_path / "image", RAMP, VOILUTSequence=table))


def test_an_image_of_8_bits_without_a_window_is_shown_as_it_is(tmp_path: Path) -> None:
    stored = asymmetric(high=100, low=20)
    rescales: tuple[dict[str, Any], ...] = (
        {},
        {"RescaleSlope": 1, "RescaleIntercept": 0},
        {"RescaleSlope": 3, "RescaleIntercept": -7},
    )
    for attributes in rescales:
        assert np.allclose(shown(written(tmp_path / "image", stored, bits=8, **attributes)), stored / 255)


def test_a_deeper_image_without_a_window_spans_its_own_range_whatever_a_hot_pixel_says(
    tmp_path: Path,
) -> None:
    stored = np.random.default_rng(1).integers(200, 900, (64, 64))
    plain = shown(written(tmp_path / "plain", stored, bits=16))
    assert plain.min() == 0
    assert plain.max() == 1
    stored[5, 7] = 65535
    hot = shown(written(tmp_path / "hot", stored, bits=16))
    assert np.abs(np.delete(hot.ravel(), 5 * 64 + 7) - np.delete(plain.ravel(), 5 * 64 + 7)).max() < 0.02


@pytest.mark.parametrize(
    "unusable",
    [
        {"WindowCenter": 2048, "WindowWidth": 0},
        {"WindowCenter": 2048, "WindowWidth": -5},
        {"WindowCenter": 20000, "WindowWidth": 10},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
)
def test_a_window_that_shows_nothing_is_as_good_as_none(tmp_path: Path, unusable: dict[str, Any]) -> None:
    without = shown(written(tmp_path / "without", asymmetric()))
    assert without.std() > 0.1
    assert np.array_equal(shown(written(tmp_path / "with", asymmetric(), **unusable)), without)


def test_padding_is_black_and_does_not_stretch_the_contrast(tmp_path: Path) -> None:
    stored = asymmetric(high=1000, low=100)
    frame = np.pad(stored, 10, constant_values=-2000)
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        attributes: dict[str, Any] = {"PhotometricInterpretation": photometric, "PixelRepresentation": 1}
        picture = shown(written(tmp_path / "padded", frame, bits=16, PixelPaddingValue=-2000, **attributes))
        assert np.allclose(
            picture[10:-10, 10:-10], shown(written(tmp_path / "bare", stored, bits=16, **attributes))
        )
        picture[10:-10, 10:-10] = 0
        assert not picture.any()


def test_a_range_of_padding_is_padding(tmp_path: Path) -> None:
    stored = np.pad(asymmetric(high=1000, low=100), 10, constant_values=60)
    path = written(tmp_path / "image", stored, PixelPaddingValue=0, PixelPaddingRangeLimit=99)
    picture = shown(path)
    assert not picture[:10].any()
    assert np.allclose(
        picture[10:-10, 10:-10], shown(written(tmp_path / "bare", asymmetric(high=1000, low=100)))
    )


def test_an_image_of_padding_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadObjectError, match="padding"):
        shown(written(tmp_path / "image", np.full((40, 40), 7), PixelPaddingValue=7))


def test_each_frame_of_an_enhanced_image_has_its_own_rescale_and_window(tmp_path: Path) -> None:
    stored = np.stack([RAMP, RAMP])
    frames = [
        *sequence(
            PixelValueTransformationSequence=sequence(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")
        ),
        *sequence(
            PixelValueTransformationSequence=sequence(RescaleSlope=2, RescaleIntercept=-100, RescaleType="US")
        ),
    ]
    path = written(
        tmp_path / "image",
        stored,
        PerFrameFunctionalGroupsSequence=frames,
        SharedFunctionalGroupsSequence=sequence(
            FrameVOILUTSequence=sequence(WindowCenter=1000, WindowWidth=1000, VOILUTFunction="LINEAR")
        ),
    )
    for frame, slope, intercept in ((1, 1, 0), (2, 2, -100)):
        expected = [[linear(slope * x + intercept, 1000, 1000) for x in row] for row in RAMP]
        assert np.allclose(shown(path, frame), expected, atol=1e-5)


def test_an_image_with_a_constant_value_is_black_and_not_an_error(tmp_path: Path) -> None:
    assert not shown(written(tmp_path / "image", np.full((40, 40), 700))).any()


def test_attributes_that_are_no_finite_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadObjectError):
        shown(written(tmp_path / "image", RAMP, RescaleSlope="NaN", RescaleIntercept="0"))


# Colour


def test_rgb_is_shown_as_it_is_in_both_planar_configurations(tmp_path: Path) -> None:
    stored = np.stack([asymmetric(250), asymmetric(120), asymmetric(60, 10)], axis=-1)
    picture = shown(written(tmp_path / "pixels", stored, bits=8))
    assert np.allclose(picture, stored / 255)
    planes = np.ascontiguousarray(np.moveaxis(stored, -1, 0)).astype(np.uint8).tobytes()
    by_plane = written(tmp_path / "planes", stored, bits=8, PlanarConfiguration=1, PixelData=planes)
    assert np.array_equal(shown(by_plane), picture)


def test_ybr_full_422_is_shown_in_the_colours_it_was_made_from() -> None:
    picture = shown(packaged_file("SC_ybr_full_422_uncompressed.dcm"))
    original = shown(packaged_file("SC_rgb_rle.dcm"))
    assert np.abs(picture - original).max() < 7 / 255
    assert np.abs(picture - original).mean() < 1 / 255


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    stored = np.tile(np.arange(4), (40, 10))
    red, green, blue = [0, 65535, 0, 32768], [0, 0, 65535, 32768], [65535, 0, 0, 32768]
    attributes: dict[str, Any] = {}
    for name, entries in (("Red", red), ("Green", green), ("Blue", blue)):
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        attributes[f"{name}PaletteColorLookupTableData"] = np.array(entries, "<u2").tobytes()
    path = written(
        tmp_path / "image", stored, bits=8, PhotometricInterpretation="PALETTE COLOR", **attributes
    )
    assert np.allclose(shown(path)[0, :4], np.stack([red, green, blue], axis=-1) / 65535)


def test_a_photometric_interpretation_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadObjectError):
        shown(written(tmp_path / "image", asymmetric(), PhotometricInterpretation="HSV"))


# Real files


def shown_or_said(path: Path) -> NDArray[np.float32] | None:
    """The picture of ``path``, which is of the right kind, or None if there is one exclusion with a reason instead."""
    prepared = prepare([stored_file(path)], ANYTHING)
    assert len(prepared.pictures) + len(prepared.exclusions) == 1
    if prepared.exclusions:
        assert len(prepared.exclusions[0].reason) > 10
        return None
    header, pixels = open_image(path).header, prepared.pictures[0].pixels
    colours = () if header.PhotometricInterpretation.startswith("MONO") else (3,)
    assert pixels.shape == (header.Rows, header.Columns, *colours)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() <= pixels.max() <= 1
    return pixels


def test_every_packaged_file_is_shown_or_excluded_for_a_reason() -> None:
    left_out = {path.name for path in packaged() if shown_or_said(path) is None}
    assert {"MR_truncated.dcm", "image_dfl.dcm", "badVR.dcm", "rtplan.dcm", "reportsi.dcm"} <= left_out
    assert not left_out & {
        "CT_small.dcm",
        "JPEG-lossy.dcm",
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "SC_rgb.dcm",
    }


def test_every_image_of_the_real_data_is_shown_and_none_is_blank(shared_data: Path) -> None:
    paths = sorted((shared_data / "dicom").glob("**/*.dcm"))
    assert len(paths) > 200
    for path in paths:
        pixels = shown_or_said(path)
        if pixels is None:
            assert open_image(path).length == 0
        elif "SEG" not in path.name.upper():
            assert pixels.std() > 0.01, path.name


def test_an_enhanced_ct_looks_the_same_in_every_lossless_encoding(shared_data: Path) -> None:
    paths = [
        p for p in (shared_data / "dicom").glob("**/*CT0012*.dcm") if not p.stem.endswith((".51", ".81"))
    ]
    pictures = [[shown(path, frame) for frame in (1, 2)] for path in paths]
    assert len(pictures) == 5
    assert len({open_image(path).transfer_syntax_uid for path in paths}) == 3
    for other in pictures[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(pictures[0], other, strict=True))


def test_the_near_lossless_ct_differs_by_its_tolerance_and_no_more(shared_data: Path) -> None:
    (near,) = (shared_data / "dicom").glob("**/*CT0012*.81.dcm")
    exact = next((shared_data / "dicom").glob("**/*CT0012*.70.dcm"))
    difference = IN_PROCESS.decode(open_image(near), 1).astype(int) - IN_PROCESS.decode(
        open_image(exact), 1
    ).astype(int)
    assert 0 < np.abs(difference).max() <= 2


def test_a_chest_radiograph_has_dark_lungs_and_a_bright_spine_in_either_polarity(shared_data: Path) -> None:
    names = ("*gdcm-CR-MONO1-10-chest.dcm", "*RG1_J2KI.dcm", "*Monochrome1-Jpeg.dcm", "*_test1.dcm")
    for name in names:
        picture = shown(next((shared_data / "dicom").glob(f"**/{name}")))
        rows, columns = picture.shape
        third = picture[rows // 3 : rows // 2]
        lungs = np.r_[third[:, columns // 4].mean(), third[:, 3 * columns // 4].mean()]
        assert lungs.mean() < third[:, columns // 2 - columns // 40 : columns // 2 + columns // 40].mean(), (
            name
        )


# prepare


def test_an_image_that_fits_is_shown(tmp_path: Path) -> None:
    prepared = prepare([stored_file(saved(tmp_path, "dx", make_dx()), "1.7")], CHEST)
    assert [(p.sop_instance_uid, p.frame, p.pixels.shape) for p in prepared.pictures] == [
        ("1.7", 1, (128, 112))
    ]
    assert prepared.exclusions == ()


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"Modality": "MR"}, "Modality"),
        ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "SOP Class"),
        ({"BodyPartExamined": "KNEE"}, "Body Part"),
        ({"ViewPosition": "LL"}, "View"),
        ({"rows": 16}, "Rows"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    ],
)
def test_an_image_that_contradicts_the_contract_is_left_out_and_nothing_failed(
    tmp_path: Path, attributes: dict[str, Any], named: str
) -> None:
    prepared = prepare([stored_file(saved(tmp_path, "dx", make_dx(**attributes)), "1.7")], CHEST)
    assert prepared.pictures == ()
    (exclusion,) = prepared.exclusions
    assert (exclusion.subject, exclusion.failed) == ("1.7", False)
    assert named in exclusion.reason


@pytest.mark.parametrize(("value", "scheme"), [("399067008", "SCT"), ("R-102CD", "SRT")])
def test_a_view_that_is_only_coded_is_understood(tmp_path: Path, value: str, scheme: str) -> None:
    lateral = sequence(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning="lateral")
    ds = make_dx(ViewPosition=None, ViewCodeSequence=lateral)
    assert "View" in prepare([stored_file(saved(tmp_path, "dx", ds))], CHEST).exclusions[0].reason


def test_a_missing_body_part_and_view_are_no_reason_to_look_away(tmp_path: Path) -> None:
    ds = make_dx(BodyPartExamined=None, ViewPosition="", ViewCodeSequence=None)
    assert len(prepare([stored_file(saved(tmp_path, "dx", ds))], CHEST).pictures) == 1


def test_a_reason_never_repeats_what_the_header_says(tmp_path: Path) -> None:
    secret = "SECRETNAME"
    for attribute in ("Modality", "BodyPartExamined", "ViewPosition"):
        told: dict[str, Any] = {attribute: secret}
        ds = make_dx(**told)
        (exclusion,) = prepare([stored_file(saved(tmp_path, "dx", ds))], CHEST).exclusions
        assert secret not in exclusion.reason


def test_what_cannot_be_decoded_failed_and_the_others_are_still_read(tmp_path: Path) -> None:
    good, bad = saved(tmp_path, "good", make_dx()), saved(tmp_path, "bad", make_dx(instance="2"))
    bad.write_bytes(bad.read_bytes()[:-1000])
    (tmp_path / "text").write_text("no DICOM")
    files = [stored_file(bad, "1.1"), stored_file(tmp_path / "text", "1.2"), stored_file(good, "1.3")]
    prepared = prepare(files, CHEST)
    assert [p.sop_instance_uid for p in prepared.pictures] == ["1.3"]
    assert [(e.subject, e.failed) for e in prepared.exclusions] == [("1.1", True), ("1.2", True)]


@pytest.mark.parametrize(("rows", "columns"), [(65535, 65535), (0, 112), (129, 112)])
def test_a_header_that_lies_about_the_size_is_a_failure(tmp_path: Path, rows: int, columns: int) -> None:
    ds = make_dx(Rows=rows, Columns=columns)
    (exclusion,) = prepare([stored_file(saved(tmp_path, "dx", ds))], CHEST).exclusions
    assert exclusion.failed


def test_a_lie_about_the_size_does_not_matter_in_an_image_that_nobody_asked_for(tmp_path: Path) -> None:
    ds = make_dx(Rows=65535, Columns=65535, Modality="MR")
    (exclusion,) = prepare([stored_file(saved(tmp_path, "dx", ds))], CHEST).exclusions
    assert not exclusion.failed


def test_a_report_in_the_study_is_no_failure() -> None:
    (exclusion,) = prepare([stored_file(packaged_file("reportsi.dcm"))], ANYTHING).exclusions
    assert not exclusion.failed


def test_of_many_slices_those_are_read_that_divide_the_volume_evenly(tmp_path: Path) -> None:
    numbers = [int(n) for n in np.random.default_rng(2).permutation(40)]
    files = [
        stored_file(saved(tmp_path, f"{n}", make_ct(slice_number=n + 1, InstanceNumber=1)), f"1.{n}")
        for n in numbers
    ]
    contract = InputContract(("CT",), (), (), (), 1, 1, 4)
    prepared = prepare(files, contract)
    assert [p.sop_instance_uid for p in prepared.pictures] == ["1.5", "1.15", "1.25", "1.35"]
    assert len(prepared.exclusions) == 36
    assert all(e.reason.startswith("Not looked at: 4 of 40") and not e.failed for e in prepared.exclusions)
    assert [p.sop_instance_uid for p in prepare(files[::-1], contract).pictures] == [
        "1.5",
        "1.15",
        "1.25",
        "1.35",
    ]


@given(count=st.integers(0, 500), most=st.integers(1, 40))
def test_a_spread_is_ascending_complete_and_symmetric(count: int, most: int) -> None:
    numbers = spread(count, most)
    assert len(numbers) == min(count, most)
    assert all(a < b for a, b in pairwise(numbers))
    assert all(0 <= n < count for n in numbers)
    if numbers:
        assert abs((numbers[0] + numbers[-1]) - (count - 1)) <= 1


def test_a_volume_shows_its_middle_frame_and_a_loop_its_first(tmp_path: Path) -> None:
    stored = np.stack([asymmetric(1000 * n) for n in (1, 2, 3)])
    for modality, frame in (("CT", 2), ("US", 1)):
        path = written(tmp_path / modality, stored, Modality=modality, WindowCenter=2048, WindowWidth=4096)
        (picture,) = prepare([stored_file(path)], ANYTHING).pictures
        assert picture.frame == frame
        assert np.allclose(picture.pixels, stored[frame - 1] / 4095, atol=1e-6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    syntax=st.sampled_from(
        [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]
    ),
    damage=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
def test_damaged_bytes_give_a_picture_or_an_exclusion_and_nothing_else(
    tmp_path: Path, syntax: str, damage: list[tuple[float, int]]
) -> None:
    path = written(tmp_path / "image", asymmetric(), syntax)
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[132 + int(place * (len(content) - 132))] = value
    path.write_bytes(content)
    prepared = prepare([stored_file(path)], ANYTHING)
    assert len(prepared.pictures) + len(prepared.exclusions) == 1
    assert all(0 <= picture.pixels.min() <= picture.pixels.max() <= 1 for picture in prepared.pictures)


# PNG


def read_png(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_png_holds_the_picture_in_256_levels() -> None:
    grey = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(64, 48)
    assert np.array_equal(read_png(png(grey)), np.rint(grey * 255))
    colour = np.stack([grey, 1 - grey, grey * 0], axis=-1)
    assert np.array_equal(read_png(png(colour)), np.rint(colour * 255))


def test_a_png_is_scaled_down_to_its_longest_edge_and_never_up() -> None:
    assert read_png(png(np.zeros((3000, 1500), np.float32), 1024)).shape == (1024, 512)
    assert read_png(png(np.zeros((30, 15), np.float32), 1024)).shape == (30, 15)


def test_pixels_need_no_torch() -> None:
    code = "import sys, gsco_pacs.steps.prepare, gsco_pacs.pixels.rendering; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
