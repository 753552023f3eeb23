"""A stored report becomes text or HTML that a person can read, from its bytes alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from io import BytesIO

from pydicom import Dataset, dcmread

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.unreadable import UNREADABLE

_VALUES = {
    "TEXT": "TextValue",
    "UIDREF": "UID",
    "PNAME": "PersonName",
    "DATE": "Date",
    "TIME": "Time",
    "DATETIME": "DateTime",
}


@dataclass(frozen=True)
class Line:
    """One content item: how deep it stands, what it is called, and its value ("" for a heading)."""

    depth: int
    name: str
    value: str


@dataclass(frozen=True)
class Reading:
    """What a report says: title, flags, when it was made, and its content in reading order."""

    title: str
    flags: str
    made_at: str
    lines: tuple[Line, ...]


def read(content: bytes) -> Reading:
    """The report in ``content`` (a DICOM Part 10 file); BadObjectError if it is no Structured Report."""
    try:
        document = dcmread(BytesIO(content))
        return Reading(
            title=_name(document),
            flags=_flags(document),
            made_at=_moment(str(document.ContentDate), str(document.ContentTime)),
            lines=tuple(line for item in _children(document, at_root=True) for line in _lines(item, 0)),
        )
    except UNREADABLE as error:
        raise BadObjectError("This is not a Structured Report.") from error


def _moment(date: str, time: str) -> str:
    """Say DA and TM (PS3.5 section 6.2) as "2026-03-04 15:16"; as they are if they are not made of digits."""
    if not (len(date) == 8 and date.isdecimal() and time[:4].isdecimal()):
        return f"{date} {time}"
    return f"{date[:4]}-{date[4:6]}-{date[6:]} {time[:2]}:{time[2:4]}"


def as_text(content: bytes) -> str:
    """The report as plain text, a heading a paragraph and an item a line."""
    report = read(content)
    rows = [report.title, report.flags, report.made_at]
    for line in report.lines:
        indent = "  " * line.depth
        rows.extend(
            [f"{indent}{line.name}: {line.value}"] if line.value else ["", f"{indent}{line.name.upper()}"]
        )
    return "\n".join(rows) + "\n"


def as_html(content: bytes) -> str:
    """The report as an HTML fragment of h2 to h6 and p; every text of the file is escaped."""
    report = read(content)
    rows = [f"<h2>{escape(report.title)}</h2>", f"<p>{escape(report.flags)}, {escape(report.made_at)}</p>"]
    for line in report.lines:
        if line.value:
            rows.append(f"<p><b>{escape(line.name)}:</b> {escape(line.value)}</p>")
        else:
            level = min(3 + line.depth, 6)
            rows.append(f"<h{level}>{escape(line.name)}</h{level}>")
    return "\n".join(rows) + "\n"


def _lines(item: Dataset, depth: int) -> Iterator[Line]:
    yield Line(depth, _name(item), _value(item))
    for child in _children(item, at_root=False):
        yield from _lines(child, depth + 1)


def _children(item: Dataset, *, at_root: bool) -> list[Dataset]:
    """The items below; at the root without language, observer and procedure, which are context and not content."""
    children = list(item.get("ContentSequence", []))
    return [child for child in children if child.RelationshipType == "CONTAINS"] if at_root else children


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def _value(item: Dataset) -> str:
    kind = str(item.ValueType)
    if kind in _VALUES:
        return str(item[_VALUES[kind]].value)
    if kind == "CODE":
        return str(item.ConceptCodeSequence[0].CodeMeaning)
    if kind == "NUM":
        measured = item.MeasuredValueSequence[0]
        return f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
    if kind in ("IMAGE", "COMPOSITE"):
        return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    return "" if kind == "CONTAINER" else f"({kind})"


def _flags(document: Dataset) -> str:
    keywords = ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")
    flags = " / ".join(str(document[keyword].value) for keyword in keywords if keyword in document)
    described = document.get("CompletionFlagDescription")
    return f"{flags} ({described})" if described else flags
