"""What an archive is asked for, and what it says that it holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Criteria:
    """Which studies are looked for; an empty field puts no condition, all others must hold."""

    study_instance_uid: str = ""
    accession_number: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    study_date: str = ""
    """A day or a range, both ends included: 20260105, 20260101-20260131, 20260101- or -20260131 (PS3.4 C.2.2.2.5)."""
    modality: str = ""

    def met_by(self, study: "ArchivedStudy") -> bool:
        """Whether the archive's answer is what was asked for: some archives ignore keys, and others read wildcards.

        What the archive does not tell cannot contradict, but for the identifiers.
        """
        identifiers = (
            (self.study_instance_uid, study.study_instance_uid),
            (self.accession_number, study.accession_number),
            (self.patient_id, study.patient_id),
        )
        return (
            all(wanted in ("", told) for wanted, told in identifiers)
            and (
                not self.issuer_of_patient_id or study.issuer_of_patient_id in ("", self.issuer_of_patient_id)
            )
            and (not self.modality or not study.modalities or self.modality in study.modalities)
            and (not study.study_date or _within(self.study_date, study.study_date))
        )


def _within(wanted: str, date: str) -> bool:
    first, dash, last = wanted.partition("-")
    return (first or "0") <= date <= ((last or "9") if dash else (first or "9"))


@dataclass(frozen=True)
class Query:
    """A C-FIND as it goes out: the information model and the encoded identifier (PS3.4 section C.4.1)."""

    sop_class_uid: str
    identifier: bytes
    transfer_syntax_uid: str


@dataclass(frozen=True)
class ArchivedStudy:
    """A study as an archive tells of it; text is empty and ``instances`` None where it does not."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    accession_number: str
    study_date: str
    """YYYYMMDD."""
    study_time: str
    modalities: tuple[str, ...]
    instances: int | None


@dataclass(frozen=True)
class ArchivedSeries:
    """A series as an archive tells of it."""

    series_instance_uid: str
    modality: str
    body_part: str
    instances: int | None


@dataclass(frozen=True)
class ArchivedInstance:
    """One object that an archive says it holds."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    """Empty if it does not tell."""


@dataclass(frozen=True)
class Wanted:
    """Objects of one study that shall be fetched."""

    study_instance_uid: str
    instances: tuple[ArchivedInstance, ...]
    whole: bool
    """They are all that the archive holds of the study."""


@dataclass(frozen=True)
class Suboperations:
    """How many objects of a retrieval have come so far (PS3.4 C.4.2.1.5 to C.4.2.1.8)."""

    completed: int = 0
    failed: int = 0
    warning: int = 0

    def __add__(self, other: "Suboperations") -> "Suboperations":
        return Suboperations(
            self.completed + other.completed, self.failed + other.failed, self.warning + other.warning
        )
