"""Names and texts of every script survive in the reports, and a stored report can be read back."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_charset_files
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag

from gsco_pacs.domain.errors import BadObjectError, InvalidReportError
from gsco_pacs.domain.findings import Report
from gsco_pacs.sr.reading import as_html, as_text, read
from gsco_pacs.sr.source import read_header
from gsco_pacs.sr.validate import errors_in
from gsco_pacs.sr.wording import plain
from tests.draft_material import DX, STUDY_UID, Parts, dcmtk, header, parts

PATIENT_NAME = Tag("PatientName")
SCRIPTS = {
    "chrArab.dcm": "ISO_IR 127", "chrFren.dcm": "ISO_IR 100", "chrGerm.dcm": "ISO_IR 100", "chrGreek.dcm": "ISO_IR 126",
    "chrH31.dcm": ["", "ISO 2022 IR 87"], "chrH32.dcm": ["ISO 2022 IR 13", "ISO 2022 IR 87"],
    "chrHbrw.dcm": "ISO_IR 138", "chrI2.dcm": ["", "ISO 2022 IR 149"], "chrKoreanMulti.dcm": ["", "ISO 2022 IR 149"],
    "chrRuss.dcm": "ISO_IR 144", "chrX1.dcm": "ISO_IR 192", "chrX2.dcm": "GB18030",
}  # fmt: skip


def _open(report: Report) -> Dataset:
    return dcmread(BytesIO(report.content))


def _raw_name(dataset: Dataset) -> bytes:
    element: DataElement | RawDataElement = dataset.get_item(PATIENT_NAME)
    assert isinstance(element, RawDataElement)
    return element.value or b""


def _image_of(name: str, folder: Path) -> Dataset:
    """pydicom's file of that script, made an image of our study and read again."""
    image = dcmread(next(path for path in get_charset_files("*.dcm") if path.endswith(name)))
    for element in header(PatientName=None, PatientID=None):
        image[element.tag] = element
    image.save_as(folder / name)
    return read_header(folder / name)


def _named(value: bytes, character_set: str | None) -> Dataset:
    image = header(SpecificCharacterSet=character_set)
    image[PATIENT_NAME] = RawDataElement(PATIENT_NAME, "PN", len(value), value, 0, False, True)
    return image


def _saying(text: str, image: Dataset | None = None) -> Parts:
    made = parts(image or header())
    return replace(
        made, draft=replace(made.draft, findings=(replace(made.draft.findings[0], text=text, basis=()),))
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_name_keeps_its_bytes_and_its_character_set(name: str, tmp_path: Path) -> None:
    image = _image_of(name, tmp_path)
    before = _raw_name(image)
    for report in parts(image).composed():
        document = _open(report)
        assert _raw_name(document) == before
        assert document.SpecificCharacterSet == SCRIPTS[name]
        assert document.PatientName == dcmread(tmp_path / name).PatientName


@pytest.mark.parametrize("name", SCRIPTS)
def test_dcmtk_reads_a_report_with_a_name_in(name: str, tmp_path: Path) -> None:
    converts = "ISO 2022 IR 87" not in SCRIPTS[name]  # which the C library's iconv does not know
    for report in parts(_image_of(name, tmp_path)).composed():
        assert "AI DRAFT" in dcmtk("dsrdump", report, tmp_path)
        html = dcmtk("dsr2html", report, tmp_path, *(["+U8"] if converts else []))
        assert "AI DRAFT" in html
        assert not converts or str(_open(report).PatientName).partition("=")[0].partition("^")[0] in html


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_text_that_the_images_character_set_lacks_turns_the_document_to_utf_8_and_keeps_the_name(
    name: str, tmp_path: Path
) -> None:
    image = _image_of(name, tmp_path)
    narrative, _ = _saying("Pleuraerguß, 胸水, השפעה, влияние", image).composed()
    document = _open(narrative)
    assert document.SpecificCharacterSet in ("ISO_IR 192", "GB18030")
    assert str(document.PatientName) == str(dcmread(tmp_path / name).PatientName)
    assert "Pleuraerguß, 胸水, השפעה, влияние" in as_text(narrative.content)


def test_english_punctuation_does_not_cost_a_name_its_bytes(tmp_path: Path) -> None:
    narrative, _ = _saying(
        "Effusion – right ≥ left, “small”…", _image_of("chrGreek.dcm", tmp_path)
    ).composed()
    assert _open(narrative).SpecificCharacterSet == "ISO_IR 126"
    assert 'Effusion - right >= left, "small"...' in as_text(narrative.content)


@pytest.mark.parametrize(
    ("value", "declared", "written"),
    [
        ("Müller".encode("latin-1"), None, "ISO_IR 100"),
        ("Müller^Jü".encode(), None, "ISO_IR 192"),
        ("Müller".encode("latin-1"), "ISO_IR 192", "ISO_IR 100"),
        ("Müller".encode("latin-1"), "ISO-IR 100", "ISO_IR 100"),
        ("Люкceмбypг".encode("iso8859-5"), "ISO IR 144", "ISO_IR 144"),
        ("王^小东".encode("gbk"), "GBK", "GB18030"),
        (b"Miller", "nonsense", "ISO_IR 192"),
        ("Müller".encode("latin-1"), "ISO 2022 IR 100", "ISO_IR 100"),
        ("Müller".encode("latin-1"), "ISO 2022 IR 6", "ISO_IR 100"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"), "ISO_IR 13", ["ISO 2022 IR 13", "ISO 2022 IR 87"]),
    ],
)
def test_a_missing_or_wrong_character_set_is_replaced_by_one_that_the_bytes_fit(
    value: bytes, declared: str | None, written: str | list[str]
) -> None:
    for report in parts(_named(value, declared)).composed():
        document = _open(report)
        assert document.SpecificCharacterSet == written
        assert _raw_name(document).rstrip() == value


def test_a_name_in_an_undeclared_windows_code_page_does_not_keep_the_report_back() -> None:
    name = "Šimek^Žofie".encode("cp1250")
    for report in parts(_named(name, None)).composed():
        document = _open(report)
        assert document.SpecificCharacterSet == "ISO_IR 192"
        assert str(document.PatientName) == name.decode("latin-1")


def test_a_windows_dash_in_a_procedure_description_does_not_keep_the_report_back() -> None:
    tag = Tag("RequestedProcedureDescription")
    request = Dataset()
    request[tag] = RawDataElement(tag, "LO", 8, b"Thorax\x96p", 0, False, True)
    for report in parts(header(RequestAttributesSequence=[request])).composed():
        described = _open(report).ReferencedRequestSequence[0].RequestedProcedureDescription
        assert described == "Thorax\x96p"


def test_text_that_a_modality_padded_with_nul_is_padded_as_the_standard_asks() -> None:
    for report in parts(_named(b"Miller\0\0", None)).composed():
        assert _raw_name(_open(report)) == b"Miller"


def test_nested_request_texts_keep_their_script(tmp_path: Path) -> None:
    image = _image_of("chrH31.dcm", tmp_path)
    request = Dataset()
    request.RequestedProcedureDescription = "胸部"
    image.RequestAttributesSequence = [request]
    image.save_as(tmp_path / "again.dcm")
    narrative, _ = parts(read_header(tmp_path / "again.dcm")).composed()
    assert _open(narrative).ReferencedRequestSequence[0].RequestedProcedureDescription == "胸部"
    narrative, _ = _saying("Pleuraerguß", read_header(tmp_path / "again.dcm")).composed()
    assert _open(narrative).ReferencedRequestSequence[0].RequestedProcedureDescription == "胸部"


def _refusal(text: str) -> str:
    try:
        plain(text)
    except InvalidReportError as error:
        return str(error)
    return ""


@settings(max_examples=25, deadline=None)
@given(st.one_of(st.text(), st.text(st.characters(), max_size=20).map(lambda text: text * 400)))
def test_any_text_gives_a_valid_document_that_holds_it_or_is_refused_in_words(text: str) -> None:
    refusal = _refusal(text)
    if refusal:
        with pytest.raises(InvalidReportError, match=refusal.partition("(")[0]):
            _saying(text).composed()
        return
    reports = _saying(text).composed()
    assert [errors_in(report.content) for report in reports] == [[], []]
    assert read(reports[0].content).lines[4].value == plain(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), ("\r\n\t", "empty"), ("\u200b", "empty"), ("\ud800", "half a character")],
)
def test_a_statement_without_words_or_with_half_a_character_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidReportError, match=reason):
        _saying(text).composed()


def test_line_ends_and_control_characters_become_one_blank() -> None:
    narrative, _ = _saying("Effusion\r\n\x00on the\x1b left.").composed()
    assert "Effusion on the left." in as_text(narrative.content)


def test_html_shows_a_text_as_text_whatever_it_holds() -> None:
    narrative, _ = _saying("<script>alert(1)</script> & more").composed()
    html = as_html(narrative.content)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html


def test_the_coded_report_can_be_read_too() -> None:
    _, coded = parts().composed()
    text = as_text(coded.content)
    assert "Certainty of Finding: 83.2 %" in text
    assert "Pleural effusion: Present" in text
    assert f"Source of Measurement: {STUDY_UID}.1.1" in text
    assert DX not in text


def test_what_is_no_report_or_no_dicom_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadObjectError, match="not a Structured Report"):
        read(b"no DICOM file at all")
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM file at all")
    with pytest.raises(BadObjectError, match="cannot be read"):
        read_header(tmp_path / "broken.dcm")
    with pytest.raises(BadObjectError, match="cannot be read"):
        read_header(tmp_path / "missing.dcm")
