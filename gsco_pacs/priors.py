"""Which earlier studies of a patient are worth fetching, by a route's rule and what the archive says."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice

from gsco_pacs.domain.archive import ArchivedStudy, Criteria
from gsco_pacs.domain.study import Study
from gsco_pacs.ports import Archive
from gsco_pacs.settings.priors import PriorRule


def wanted_modalities(study: Study, rule: PriorRule) -> frozenset[str]:
    """The modalities whose series are wanted of a prior."""
    own = (str(instance.header.get("Modality", "")) for instance in study.instances)
    return frozenset(rule.modalities or own) - {""}


def find_priors(archive: Archive, study: Study, rule: PriorRule) -> tuple[ArchivedStudy, ...]:
    """The newest earlier studies of the patient that the rule wants, newest first, never the study itself.

    Without a Patient ID or a Study Date there is none. Errors as in ports.Archive.
    """
    header = study.instances[0].header
    day = _day(str(header.get("StudyDate", "")))
    if not study.patient_id or day is None:
        return ()
    first = day - timedelta(days=rule.within_days)
    criteria = Criteria(
        patient_id=study.patient_id,
        issuer_of_patient_id=str(header.get("IssuerOfPatientID", "")),
        study_date=f"{first:%Y%m%d}-{day:%Y%m%d}",
    )
    moment = (f"{day:%Y%m%d}", str(header.get("StudyTime", "")))
    earlier = (
        other
        for other in archive.find_studies(criteria)
        if other.study_instance_uid != study.study_instance_uid
        and other.study_date
        and (other.study_date, other.study_time) < moment
    )
    return tuple(islice(_fitting(archive, earlier, study, rule), rule.most))


def _fitting(
    archive: Archive, candidates: Iterator[ArchivedStudy], study: Study, rule: PriorRule
) -> Iterator[ArchivedStudy]:
    modalities = wanted_modalities(study, rule)
    for candidate in candidates:
        if candidate.modalities and not modalities.intersection(candidate.modalities):
            continue
        if any(
            series.modality in modalities and (not rule.body_parts or series.body_part in rule.body_parts)
            for series in archive.list_series(candidate.study_instance_uid)
        ):
            yield candidate


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
