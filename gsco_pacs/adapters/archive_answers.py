"""The keys of a query, and its answers as values; the same for C-FIND and QIDO-RS (PS3.4 C.6.2, PS3.18 section 10.6)."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from pydicom import Dataset

from gsco_pacs.domain.archive import ArchivedInstance, ArchivedSeries, ArchivedStudy, Criteria
from gsco_pacs.domain.errors import BadUidError
from gsco_pacs.domain.study import valid_uid

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

STUDY_KEYS = ("IssuerOfPatientID", "StudyTime", "NumberOfStudyRelatedInstances")
"""What is wanted of a study beside what it may be looked for by."""
SERIES_KEYS = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "NumberOfSeriesRelatedInstances")
INSTANCE_KEYS = ("SOPInstanceUID", "SOPClassUID")


def matching_keys(criteria: Criteria) -> dict[str, str]:
    """Keyword -> what it must match; the empty ones are only wanted back.

    The issuer is not among them: few archives match it, so ``Criteria.met_by`` does.
    """
    return {
        "StudyInstanceUID": criteria.study_instance_uid,
        "AccessionNumber": criteria.accession_number,
        "PatientID": criteria.patient_id,
        "StudyDate": criteria.study_date,
        "ModalitiesInStudy": criteria.modality,
    }


def studies(answers: Iterable[Dataset], criteria: Criteria) -> tuple[ArchivedStudy, ...]:
    """The answers that meet ``criteria``, newest first."""
    found = [study for study in _understood(_study, answers) if criteria.met_by(study)]
    return tuple(sorted(found, key=lambda study: (study.study_date, study.study_time), reverse=True))


def series_counted(answers: Iterable[Dataset], study_instance_uid: str) -> int | None:
    """How many series the archive counts in the study; None if it does not say."""
    told = (answer for answer in answers if _text(answer, "StudyInstanceUID") == study_instance_uid)
    return next((_count(answer, "NumberOfStudyRelatedSeries") for answer in told), None)


def series(answers: Iterable[Dataset]) -> tuple[ArchivedSeries, ...]:
    """The answers to a query for series."""
    return tuple(_understood(_series, answers))


def instances(
    answers: Iterable[Dataset], study_instance_uid: str, series_instance_uid: str
) -> tuple[ArchivedInstance, ...]:
    """The answers to a query for the objects of one series."""

    def one(answer: Dataset) -> ArchivedInstance:
        sop_class = _text(answer, "SOPClassUID")
        return ArchivedInstance(
            study_instance_uid,
            series_instance_uid,
            valid_uid(_text(answer, "SOPInstanceUID")),
            valid_uid(sop_class) if sop_class else "",
        )

    return tuple(_understood(one, answers))


def _study(answer: Dataset) -> ArchivedStudy:
    date = _text(answer, "StudyDate")
    return ArchivedStudy(
        study_instance_uid=valid_uid(_text(answer, "StudyInstanceUID")),
        patient_id=_text(answer, "PatientID"),
        issuer_of_patient_id=_text(answer, "IssuerOfPatientID"),
        accession_number=_text(answer, "AccessionNumber"),
        study_date=date if len(date) == 8 and date.isdecimal() else "",
        study_time=_text(answer, "StudyTime"),
        modalities=tuple(part for part in _text(answer, "ModalitiesInStudy").split("\\") if part),
        instances=_count(answer, "NumberOfStudyRelatedInstances"),
    )


def _series(answer: Dataset) -> ArchivedSeries:
    return ArchivedSeries(
        valid_uid(_text(answer, "SeriesInstanceUID")),
        _text(answer, "Modality"),
        _text(answer, "BodyPartExamined"),
        _count(answer, "NumberOfSeriesRelatedInstances"),
    )


def _understood(read: Callable[[Dataset], Value], answers: Iterable[Dataset]) -> list[Value]:
    """Each different answer once; one without a valid UID is left out, because nothing could be fetched by it."""
    values: dict[Value, None] = {}
    for answer in answers:
        try:
            values[read(answer)] = None
        except BadUidError as error:
            logger.warning("An archive's answer is left out: %s", error)
    return list(values)


def _text(answer: Dataset, keyword: str) -> str:
    value = answer.get(keyword)
    parts = [] if value is None else [value] if isinstance(value, str) else list(value)
    return "\\".join(str(part).strip() for part in parts)


def _count(answer: Dataset, keyword: str) -> int | None:
    try:
        return int(answer[keyword].value)
    except (KeyError, TypeError, ValueError):
        return None
