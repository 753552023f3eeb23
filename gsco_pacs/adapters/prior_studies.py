"""Finds the earlier studies of a patient that the node has consulted specialists on."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, func, select

from gsco_pacs.adapters.arrivals import newest_of_each
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.tables import InstanceRow, JobRow, ProductRow, StudyRow
from gsco_pacs.domain.findings import Consultation
from gsco_pacs.domain.job import Stage
from gsco_pacs.domain.priors import ImageReference, Prior
from gsco_pacs.domain.registration import PART_OF_STUDY

_CONSULTATION = TypeAdapter(Consultation)
_MOST = 50
"""So many studies of a patient are looked at, those received last."""


class PriorStudies:
    """The earlier studies in the record; used by the draft worker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def before(self, job_id: int) -> tuple[Prior, ...]:
        """Earlier studies of the job's patient with a finished consultation, newest first.

        The same Patient ID and Issuer of Patient ID, which qualifies it (PS3.3 C.2.2; blanks around either mean nothing,
        PS3.5 6.2, and are gone since reception), a modality in common, and an earlier date and time; without a Patient ID
        or a Study Date there is none.
        """
        with self._database.reading() as connection:
            own = select(StudyRow).join(JobRow, JobRow.study_id == StudyRow.id).where(JobRow.id == job_id)
            study = connection.execute(own).one()
            today = self._read_images(connection, study.id, _product(connection, job_id))
            if not study.patient_id or not today or not _date(today):
                return ()
            found = [
                (_moment(images), Prior(uid, _date(images), consultation, _references(images)))
                for uid, consultation, images in self._others(connection, study)
                if _comparable(images, today)
            ]
        return tuple(prior for _, prior in sorted(found, key=lambda pair: pair[0], reverse=True))

    def _others(self, connection: Connection, study: Any) -> Iterator[tuple[str, Consultation, list[Any]]]:
        """Every other study of the patient with the newest consultation on it and the images that were read."""
        newest = (
            select(func.max(ProductRow.job_id).label("job_id"), JobRow.study_id)
            .join(JobRow, JobRow.id == ProductRow.job_id)
            .where(ProductRow.stage == Stage.CONSULT)
            .group_by(JobRow.study_id)
            .subquery()
        )
        others = (
            select(StudyRow.id, StudyRow.study_instance_uid, newest.c.job_id)
            .join(newest, newest.c.study_id == StudyRow.id)
            .where(StudyRow.patient_id == study.patient_id, StudyRow.id != study.id)
            .order_by(StudyRow.id.desc())
            .limit(_MOST)
        )
        for other in connection.execute(others).all():
            consultation = _product(connection, other.job_id)
            yield (
                other.study_instance_uid,
                consultation,
                self._read_images(connection, other.id, consultation),
            )

    def _read_images(self, connection: Connection, study_id: int, consultation: Consultation) -> list[Any]:
        query = select(InstanceRow).where(
            InstanceRow.study_id == study_id,
            InstanceRow.sop_instance_uid.in_(consultation.read),
            InstanceRow.kind.in_(PART_OF_STUDY),
        )
        return newest_of_each(connection.execute(query.order_by(InstanceRow.id)))


def _product(connection: Connection, job_id: int) -> Consultation:
    query = select(ProductRow.content).where(ProductRow.job_id == job_id, ProductRow.stage == Stage.CONSULT)
    return _CONSULTATION.validate_python(connection.execute(query).scalar_one())


def _comparable(images: list[Any], today: list[Any]) -> bool:
    if not images or not _date(images) or _moment(images) >= _moment(today):
        return False
    return _issuer(images) == _issuer(today) and bool(_modalities(images) & _modalities(today))


def _modalities(images: list[Any]) -> set[str]:
    return {str(image.header.get("Modality", "")) for image in images}


def _issuer(images: list[Any]) -> str:
    return str(images[0].header.get("IssuerOfPatientID", ""))


def _moment(images: list[Any]) -> tuple[str, str]:
    return _date(images), str(images[0].header.get("StudyTime", ""))


def _date(images: list[Any]) -> str:
    """Study Date as "2026-03-01"; empty if there is no usable one."""
    digits = str(images[0].header.get("StudyDate", ""))
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == 8 and digits.isdecimal() else ""


def _references(images: list[Any]) -> tuple[ImageReference, ...]:
    return tuple(
        ImageReference(image.series_instance_uid, image.sop_class_uid, image.sop_instance_uid)
        for image in images
    )
