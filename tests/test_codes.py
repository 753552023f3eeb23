"""Every code means what it says: a wrong SNOMED CT code is worse than none, and public label maps are full of them."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes as dictionary

from gsco_pacs.config import shipped
from gsco_pacs.domain.errors import InvalidReportError
from gsco_pacs.domain.findings import Code
from gsco_pacs.sr import codes

CONFIRMED = {
    # Not in DICOM's own dictionary; each read in several independent published code lists.
    ("SCT", "46621007"): "Atelectasis",
    ("SCT", "8186001"): "Cardiomegaly",
    ("SCT", "95436008"): "Lung consolidation",
    ("SCT", "87433001"): "Pulmonary emphysema",
    ("SCT", "51615001"): "Fibrosis of lung",
    ("SCT", "39839004"): "Diaphragmatic hernia",
    ("SCT", "309529002"): "Lung mass",
    ("SCT", "786838002"): "Nodule of lung",
    ("SCT", "233604007"): "Pneumonia",
    ("SCT", "125605004"): "Fracture of bone",
    ("SCT", "53084003"): "Bacterial pneumonia",
    ("SCT", "75570004"): "Viral pneumonia",
    ("SCT", "393564001"): "Glioma",
    ("SCT", "302820008"): "Intracranial meningioma",
    ("SCT", "254956000"): "Pituitary adenoma",
    ("SCT", "239873007"): "Osteoarthritis of knee",
    ("SCT", "246112005"): "Severity",
    ("RADLEX", "RID28509"): "thickening",
    # Written in the templates themselves (PS3.16 TID 1204, 1500, 1600).
    ("RFC5646", "en"): "English",
    ("UMLS", "C0034375"): "Qualitative Evaluations",
    ("UCUM", "{pixels}"): "Pixels",
    ("SCT", "260753009"): "Source",
}
"""Add a line only with a source that you have read; the code and its meaning must come from the same place."""

_PERMUTATION = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    _PERMUTATION.append([_PERMUTATION[-1][digit] for digit in _PERMUTATION[1]])


def _times(a: int, b: int) -> int:
    """The product in the dihedral group of ten elements."""
    turned = (a % 5 + b) % 5 if a < 5 else (a - b) % 5
    return turned + (5 if (a >= 5) != (b >= 5) else 0)


def _has_valid_check_digit(sct: str) -> bool:
    """Verhoeff's check over a SNOMED CT identifier, last digit first."""
    check = 0
    for place, digit in enumerate(reversed(sct)):
        check = _times(check, _PERMUTATION[place % 8][int(digit)])
    return check == 0


def _own() -> Iterator[Code]:
    for value in vars(codes).values():
        if isinstance(value, Code):
            yield value
    yield from codes.PRESENCE.values()


def _of_bundles() -> Iterator[tuple[str, Code]]:
    for path in sorted(shipped("models").glob("*/configs/metadata.json")):
        described = json.loads(path.read_text(encoding="utf-8")).get("gsco", {})
        for label in described.get("labels", []):
            for part in (label.get("code"), label.get("site"), label.get("severity")):
                if part:
                    yield f"{path.parent.parent.name} {label['label']}", Code(**part)


EVERY = [("reports", code) for code in _own()] + list(_of_bundles())
IDS = [f"{where}: {code.meaning}" for where, code in EVERY]


@cache
def _dictionary(scheme: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for keyword in getattr(dictionary, scheme).dir() if scheme in dictionary.schemes() else ():
        entry = getattr(getattr(dictionary, scheme), keyword)
        found.setdefault(entry.value, set()).add(entry.meaning)
    return found


@pytest.mark.parametrize(("where", "code"), EVERY, ids=IDS)
def test_a_code_means_what_the_dictionary_or_the_confirmed_table_says(where: str, code: Code) -> None:
    if code.scheme == codes.LOCAL_SCHEME:
        assert where == "reports"
        return
    known = _dictionary(code.scheme).get(code.value, set()) | {CONFIRMED.get((code.scheme, code.value), "")}
    assert code.meaning in known - {""}


@pytest.mark.parametrize(("where", "code"), EVERY, ids=IDS)
def test_a_code_fits_a_code_sequence_and_a_snomed_code_passes_its_check_digit(where: str, code: Code) -> None:
    assert len(code.meaning) <= 64
    assert len(code.scheme) <= 16
    assert code.scheme != "SCT" or _has_valid_check_digit(code.value)


@pytest.mark.parametrize(("sct", "valid"), [("22298006", True), ("95436003", False), ("233709007", False)])
def test_the_check_digit_finds_wrong_codes_of_public_label_maps(sct: str, valid: bool) -> None:
    assert _has_valid_check_digit(sct) is valid


def test_bundles_were_found() -> None:
    assert any(where != "reports" for where, _ in EVERY)
    assert Path(shipped("models")).is_dir()


def test_each_report_concept_has_its_own_code() -> None:
    pairs = [(code.scheme, code.value) for code in _own()]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("code", [Code("", "SCT", "x"), Code("1", "S" * 17, "x"), Code("1", "SCT", "x" * 65)])
def test_a_code_that_no_code_sequence_holds_is_refused(code: Code) -> None:
    with pytest.raises(InvalidReportError):
        codes.concept(code)
