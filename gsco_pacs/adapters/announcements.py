"""The record of what modalities and archives announce: images that have come, will come, or are being acquired."""

from enum import StrEnum
from typing import Any

from sqlalchemy import Select, case, func, insert, select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import AnnouncementRow, InstanceRow, JobRow, StudyRow
from gsco_pacs.domain.completeness import Announced, Announcement, Heard, Step
from gsco_pacs.domain.job import State
from gsco_pacs.domain.registration import Registration
from gsco_pacs.domain.study import Peer


class Taken(StrEnum):
    """What became of an announcement."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    """One with this SOP Instance UID is there already."""
    UNKNOWN = "unknown"
    """None with this SOP Instance UID is there to be changed."""
    FINAL = "final"
    """It is completed or discontinued, and so may not be changed."""


class Announcements:
    """Kept whether their study has come or not; used by the receiver and the housekeeper."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, announcement: Announcement, peer: Peer) -> Taken:
        """Keep a new announcement, a row for each of its studies; durable when it returns."""
        at = now()
        rows = [
            {
                "sop_instance_uid": announcement.sop_instance_uid,
                "study_instance_uid": study,
                "kind": announcement.kind,
                "step": announcement.step,
                "images": list(announcement.images),
                "calling_ae": peer.calling_ae,
                "address": peer.address,
                "received_at": at,
                "changed_at": at,
            }
            for study in announcement.study_instance_uids
        ]
        with self._database.writing() as connection:
            if connection.execute(_steps(announcement.sop_instance_uid)).first():
                return Taken.DUPLICATE
            connection.execute(insert(AnnouncementRow), rows)
        return Taken.TAKEN

    def change(self, sop_instance_uid: str, step: Step | None, images: tuple[str, ...] | None) -> Taken:
        """Set what is not None of an acquisition in progress; durable when it returns."""
        values: dict[str, Any] = {"changed_at": now()}
        values |= {"step": step} if step else {}
        values |= {"images": list(images)} if images is not None else {}
        with self._database.writing() as connection:
            steps = connection.execute(_steps(sop_instance_uid).with_for_update()).scalars().all()
            if not steps:
                return Taken.UNKNOWN
            if Step.IN_PROGRESS not in steps:
                return Taken.FINAL
            changed = update(AnnouncementRow).where(AnnouncementRow.sop_instance_uid == sop_instance_uid)
            connection.execute(changed.values(**values))
        return Taken.TAKEN

    def heard(self) -> dict[str, Heard]:
        """Study Instance UID -> what was heard last, for each study that is arriving and was announced."""
        finished = func.max(case((AnnouncementRow.step != Step.IN_PROGRESS, 1), else_=0))
        query = (
            select(AnnouncementRow.study_instance_uid, func.max(AnnouncementRow.changed_at), finished)
            .join(StudyRow, StudyRow.study_instance_uid == AnnouncementRow.study_instance_uid)
            .join(JobRow, JobRow.study_id == StudyRow.id)
            .where(JobRow.state == State.COLLECTING)
            .group_by(AnnouncementRow.study_instance_uid)
        )
        with self._database.reading() as connection:
            return {uid: Heard(at, bool(done)) for uid, at, done in connection.execute(query)}

    def of(self, study_instance_uid: str) -> tuple[tuple[Announced, ...], frozenset[str]]:
        """The study's announcements with what is missing of each, oldest first; and every image that they name.

        A step that belongs to several studies says of no image whose it is, so all of them are looked through.
        """
        own = select(AnnouncementRow).where(AnnouncementRow.study_instance_uid == study_instance_uid)
        with self._database.reading() as connection:
            rows = connection.execute(own.order_by(AnnouncementRow.id)).all()
            here = set(connection.execute(_here(study_instance_uid)).scalars()) if rows else set()
        announced = tuple(
            Announced(
                f"{row.kind} of {row.calling_ae}",
                Step(row.step),
                len(row.images),
                len(set(row.images) - here),
            )
            for row in rows
        )
        return announced, frozenset(uid for row in rows for uid in row.images)


def _steps(sop_instance_uid: str) -> Select[str]:
    return select(AnnouncementRow.step).where(AnnouncementRow.sop_instance_uid == sop_instance_uid)


def _here(study_instance_uid: str) -> Select[str]:
    announced = select(AnnouncementRow.sop_instance_uid).where(
        AnnouncementRow.study_instance_uid == study_instance_uid
    )
    studies = select(AnnouncementRow.study_instance_uid).where(
        AnnouncementRow.sop_instance_uid.in_(announced)
    )
    return (
        select(InstanceRow.sop_instance_uid)
        .join(StudyRow, StudyRow.id == InstanceRow.study_id)
        .where(StudyRow.study_instance_uid.in_(studies), InstanceRow.kind != Registration.OWN)
    )
