"""Whether a code can be one of its coding scheme: a mistyped code is worse than none."""

import re

from gsco_pacs.domain.findings import Code

_FORMS = {
    "SCT": r"[1-9]\d{5,17}",
    "DCM": r"\d{6}",
    "RADLEX": r"RID\d+",
    "LN": r"\d{1,7}-\d",
    "UMLS": r"C\d{7}",
}
"""Scheme (PS3.16 table 8-1) -> form of its values; other schemes are not known here and let pass."""

_SWAPPED = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
"""Verhoeff's permutation, applied once more for each place."""


def fault_of(code: Code) -> str:
    """What is wrong with the form of ``code``, in words; empty if nothing is."""
    said = f"({code.value}, {code.scheme}, {code.meaning!r})"
    if not (code.value and code.scheme and code.meaning):
        return f"The code {said} is not complete."
    if len(code.value) > 16 or len(code.scheme) > 16 or len(code.meaning) > 64:
        return f"The code {said} is longer than a code sequence holds (PS3.3 section 8)."
    form = _FORMS.get(code.scheme)
    if form and not re.fullmatch(form, code.value):
        return f"The code {said} has not the form of its scheme."
    if code.scheme == "SCT" and _check(code.value) != 0:
        return f"The code {said} has a wrong check digit."
    return ""


def _check(digits: str) -> int:
    """0 if the last digit is Verhoeff's check digit of the others, as in every SNOMED CT identifier."""
    total, swap = 0, list(range(10))
    for digit in reversed(digits):
        total = _times(total, swap[int(digit)])
        swap = [_SWAPPED[value] for value in swap]
    return total


def _times(a: int, b: int) -> int:
    """The product in the group of the symmetries of a pentagon."""
    turned = (a + b) % 5 if a < 5 else (a - b) % 5
    return turned + 5 * ((a < 5) != (b < 5))
