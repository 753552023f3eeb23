import os
import resource
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread, uid
from pydicom.pixels.decoders.base import get_decoder

from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES
from gsco_pacs.domain.errors import BadObjectError, TransientError
from gsco_pacs.pixels.decoding import IN_PROCESS, PLUGINS
from gsco_pacs.pixels.opening import check_size, open_image
from tests.decoder_table import compared, packaged, table
from tests.made_images import Row, measured
from tests.made_images import table as made_table
from tests.stored_images import GDCM_WRITES, asymmetric, packaged_file, written

LOSSLESS = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
]


def named(syntax: str) -> str:
    return uid.UID(syntax).name


def decoded(path: Path, frame: int = 1) -> NDArray[Any]:
    return IN_PROCESS.decode(open_image(path), frame)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=named)
def test_stored_values_come_back_identical_and_upright_from_every_lossless_encoding(
    tmp_path: Path, syntax: str
) -> None:
    stored = asymmetric()
    path = written(tmp_path / "image", stored, syntax)
    assert open_image(path).transfer_syntax_uid == syntax
    assert np.array_equal(decoded(path), stored)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s != uid.JPEGLSLossless], ids=named)
def test_signed_values_of_16_bits_come_back_identical(tmp_path: Path, syntax: str) -> None:
    stored = asymmetric(high=3000, low=-1024)
    assert np.array_equal(decoded(written(tmp_path / "image", stored, syntax, bits=16)), stored)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s not in GDCM_WRITES], ids=named)
def test_colours_come_back_identical(tmp_path: Path, syntax: str) -> None:
    stored = np.stack([asymmetric(250), asymmetric(120), asymmetric(60, 10)], axis=-1)
    assert np.array_equal(decoded(written(tmp_path / "image", stored, syntax, bits=8)), stored)


@pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s not in GDCM_WRITES], ids=named)
def test_the_frame_that_is_asked_for_is_the_one_that_is_decoded(tmp_path: Path, syntax: str) -> None:
    stored = np.stack([asymmetric(1000), asymmetric(2000), asymmetric(3000)])
    path = written(tmp_path / "image", stored, syntax)
    assert open_image(path).frames == 3
    assert all(np.array_equal(decoded(path, frame), stored[frame - 1]) for frame in (1, 2, 3))


def test_lossy_jpeg_of_12_bits_is_decoded_without_gpl_code(tmp_path: Path) -> None:
    stored = asymmetric()
    path = written(tmp_path / "image", stored, uid.JPEGExtended12Bit)
    assert open_image(path).transfer_syntax_uid == uid.JPEGExtended12Bit
    values = decoded(path)
    assert np.abs(values - stored).mean() < 20
    assert np.corrcoef(values.ravel(), stored.ravel())[0, 1] > 0.98


def test_values_that_do_not_begin_at_bit_0_are_moved_there(tmp_path: Path) -> None:
    stored = asymmetric()
    path = written(tmp_path / "image", stored << 4, HighBit=15)
    assert np.array_equal(decoded(path), stored)


def test_signed_values_above_bit_0_keep_their_sign(tmp_path: Path) -> None:
    stored = asymmetric(high=2000, low=-2000)
    path = written(tmp_path / "image", stored << 4, HighBit=15)
    assert np.array_equal(decoded(path), stored)


def test_an_overlay_in_the_unused_high_bits_does_not_reach_the_values(tmp_path: Path) -> None:
    stored = asymmetric()
    overlay = np.eye(*stored.shape, dtype=np.int64) << 13
    assert np.array_equal(decoded(written(tmp_path / "image", stored | overlay)), stored)


def test_every_syntax_has_a_decoder_that_is_installed() -> None:
    for syntax, plugin in PLUGINS.items():
        decoder = get_decoder(syntax)
        assert decoder.is_native if plugin == "" else plugin in decoder.available_plugins


def header_bomb(path: Path, syntax: str, rows: int = 65535, columns: int = 65535, frames: int = 1000) -> Path:
    ds = dcmread(written(path, asymmetric(), syntax))
    ds.Rows, ds.Columns, ds.NumberOfFrames = rows, columns, frames
    ds.save_as(path)
    return path


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless], ids=named
)
def test_a_header_that_claims_65535_by_65535_pixels_is_refused_at_once_and_without_memory(
    tmp_path: Path, syntax: str
) -> None:
    path = header_bomb(tmp_path / "bomb", syntax)
    decoded(written(tmp_path / "warm", asymmetric(), syntax))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(BadObjectError, match="larger than"):
        decoded(path)
    assert time.perf_counter() - began < 0.25
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


@pytest.mark.parametrize(
    "attribute", ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames"]
)
def test_a_size_of_zero_is_refused(tmp_path: Path, attribute: str) -> None:
    nothing: dict[str, Any] = {attribute: 0}
    path = written(tmp_path / "image", asymmetric(), **nothing)
    with pytest.raises(BadObjectError, match="missing or zero"):
        decoded(path)


@pytest.mark.parametrize(
    "attribute", ["Rows", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"]
)
def test_a_missing_attribute_of_the_pixels_is_refused(tmp_path: Path, attribute: str) -> None:
    missing: dict[str, Any] = {attribute: None}
    path = written(tmp_path / "image", asymmetric(), **missing)
    with pytest.raises(BadObjectError):
        decoded(path)


def test_more_frames_than_the_file_has_room_for_are_refused(tmp_path: Path) -> None:
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless):
        path = header_bomb(tmp_path / "bomb", syntax, rows=48, columns=40, frames=100_000)
        with pytest.raises(BadObjectError, match="truncated"):
            decoded(path)


@pytest.mark.parametrize("syntax", [*LOSSLESS, uid.JPEGExtended12Bit], ids=named)
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_pixel_data_is_refused(tmp_path: Path, syntax: str, kept: float) -> None:
    path = written(tmp_path / "image", asymmetric(), syntax)
    image = open_image(path)
    os.truncate(path, image.offset + int(kept * image.length))
    with pytest.raises(BadObjectError):
        decoded(path)


def test_a_codestream_of_another_size_than_the_header_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    for syntax, marker, at, form in (
        (uid.JPEG2000Lossless, b"\xff\x4f\xff\x51", 8, ">LL"),
        (uid.JPEGLSLossless, b"\xff\xf7", 5, ">HH"),
        (uid.JPEGLosslessSV1, b"\xff\xc3", 5, ">HH"),
    ):
        path = written(tmp_path / "image", asymmetric(), syntax)
        content = bytearray(path.read_bytes())
        struct.pack_into(form, content, content.index(marker) + at, 60000, 60000)
        path.write_bytes(content)
        with pytest.raises(BadObjectError, match=r"60000 x 60000 x 1.*48 x 40 x 1"):
            decoded(path)


def test_a_deflated_data_set_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = written(tmp_path / "image", np.zeros((4000, 4000), np.int64), uid.DeflatedExplicitVRLittleEndian)
    began = time.perf_counter()
    with pytest.raises(BadObjectError, match="Deflated"):
        open_image(path)
    assert time.perf_counter() - began < 0.1


def test_a_transfer_syntax_without_a_decoder_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "image", asymmetric(), uid.RLELossless)
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = uid.MPEG4HP41
    ds.save_as(path)
    with pytest.raises(BadObjectError, match="MPEG-4"):
        decoded(path)


def test_a_file_that_is_no_dicom_is_refused_and_one_that_is_gone_may_come_back(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no preamble here")
    with pytest.raises(BadObjectError):
        open_image(tmp_path / "text")
    with pytest.raises(TransientError):
        open_image(tmp_path / "gone")


def test_a_report_has_a_header_and_no_pixels() -> None:
    image = open_image(packaged_file("reportsi.dcm"))
    assert image.length == 0
    with pytest.raises(BadObjectError):
        check_size(image)


def test_every_packaged_file_is_decoded_alike_by_a_second_decoder() -> None:
    differences = [difference for *_, difference in compared(packaged()) if difference is not None]
    assert len(differences) >= 30
    assert set(differences) == {0}


def test_every_real_file_is_decoded_alike_by_a_second_decoder(shared_data: Path) -> None:
    differences = [
        difference
        for *_, difference in compared((shared_data / "dicom").glob("**/*.dcm"))
        if difference is not None
    ]
    assert len(differences) >= 40
    assert set(differences) == {0}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return measured(tmp_path_factory.mktemp("made"))


def test_every_form_of_every_accepted_syntax_comes_back_as_it_was_put_in_and_as_a_second_decoder_has_it(
    rows: list[Row],
) -> None:
    assert [row for row in rows if row.from_truth > row.tolerance or row.from_second != 0] == []
    assert {row.syntax for row in rows} == {syntax.name for syntax in TRANSFER_SYNTAXES}


def test_the_table_of_made_images_in_the_docs_is_the_one_that_is_measured(rows: list[Row]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "pixels.md").read_text(encoding="utf-8")
    assert [line for line in made_table(rows) if line not in page] == []


def test_the_table_of_decoders_in_the_docs_is_the_one_that_is_measured() -> None:
    page = (Path(__file__).parents[1] / "docs" / "pixels.md").read_text(encoding="utf-8")
    without_dcmtk = [row for row in table(packaged()) if not row.split("|")[5].strip().startswith("gdcm")]
    assert len(without_dcmtk) > 30
    assert [row for row in without_dcmtk if row not in page] == []
