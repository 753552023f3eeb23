"""What differs between two objects that name the same SOP Instance: a corrected header, or another image."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gsco_pacs.domain.registration import Registration
from gsco_pacs.domain.study import Header

OF_THE_WHOLE_STUDY = frozenset(
    [
        "AccessionNumber",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientID",
        "PatientName",
        "PatientSex",
        "ReferringPhysicianName",
        "StudyDate",
        "StudyDescription",
        "StudyID",
        "StudyTime",
    ]
)
"""Keywords of the patient and the study: a correction of one image's is due for every image of the study."""


@dataclass(frozen=True)
class Differences:
    """What a later object of the same SOP Instance UID has otherwise than the former."""

    attributes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """DICOM keyword -> former and newer value as text, "" where there was none."""
    another_image: str = ""
    """Why the two are not the same image; empty if they are, so that only the header can differ."""

    @property
    def is_correction(self) -> bool:
        """Whether it is the same image with another header."""
        return bool(self.attributes) and not self.another_image

    @property
    def concerns_the_study(self) -> bool:
        """Whether patient or study are corrected, and not this image alone."""
        return self.is_correction and not OF_THE_WHOLE_STUDY.isdisjoint(self.attributes)


_LINES = 20
"""So many kinds of oddness are told of one study."""


def by_headers(former: Header, newer: Header) -> Differences:
    """What differs as far as the record has kept the two headers: all that can be said when the former bytes are gone."""
    texts = {k: (str(former.get(k, "")), str(newer.get(k, ""))) for k in sorted({*former, *newer})}
    return Differences({k: pair for k, pair in texts.items() if pair[0] != pair[1]})


def in_words(kind: str, changes: Mapping[str, Iterable[str]] | None) -> str:
    """What is to be said of a received object beside that it came; empty if nothing."""
    values = "; ".join(f"{k} {former!r} → {newer!r}" for k, (former, newer) in (changes or {}).items())
    match kind:
        case Registration.CORRECTED:
            header = f"came with a corrected header: {values}"
            return header if values else "takes the place of an object whose bytes were deleted"
        case Registration.VARIANT if changes is None:
            return "came with a known SOP Instance UID and other bytes: not compared yet"
        case Registration.VARIANT:
            return "came with a known SOP Instance UID and other bytes: kept aside" + (
                values and f" ({values})"
            )
        case Registration.KEPT if changes:
            return f"came in another study before, and is kept in both: {values}"
        case Registration.OWN:
            return "is a result of this node that came back: counted, not read"
    return ""


def summed_up(received: Iterable[tuple[str, Mapping[str, Iterable[str]] | None]]) -> Iterator[str]:
    """What is odd about a study's objects (kind and changes of each) and how many are alike, the commonest first."""
    told = Counter(words for kind, changes in received if (words := in_words(kind, changes)))
    return (f"{count} × {words}." for words, count in told.most_common(_LINES))
