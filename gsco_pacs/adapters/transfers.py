"""Notes for the audit trail of what came, went or was opened, written in the transaction that records it, until they are told."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, func, insert, select, update

from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import FetchRow, InstanceRow, JobRow, StudyRow, TransferRow
from gsco_pacs.domain.registration import PART_OF_STUDY, Registration
from gsco_pacs.domain.study import Peer
from gsco_pacs.domain.transfer import Access, Action, Transfer

_NOTE: TypeAdapter[Transfer | Access] = TypeAdapter(Transfer | Access)


def note_came_again(connection: Connection, study_id: int, came: Iterable[tuple[str, Peer, Action]]) -> None:
    """Note objects (SOP Class UID, sender, what they meant) that are not told when their study is closed."""
    study = connection.execute(select(StudyRow).where(StudyRow.id == study_id)).one()
    classes: dict[tuple[Peer, Action], Counter[str]] = {}
    for sop_class_uid, peer, action in came:
        classes.setdefault((peer, action), Counter())[sop_class_uid] += 1
    at = now()
    for (peer, action), counted in classes.items():
        _note_received(connection, study, peer, action, counted, (at, at))


def note_closed(connection: Connection, job: Any) -> None:
    """Note the images of a job that is being closed; of one that is closed again, those that came since."""
    study = connection.execute(select(StudyRow).where(StudyRow.id == job.study_id)).one()
    sender = (InstanceRow.calling_ae, InstanceRow.called_ae, InstanceRow.address)
    query = (
        select(*sender, InstanceRow.sop_class_uid, func.count().label("instances"), func.max(InstanceRow.id).label("last"))
        .where(
            InstanceRow.study_id == job.study_id,
            InstanceRow.revision == job.revision,
            InstanceRow.kind == Registration.KEPT,
            InstanceRow.id > job.told,
        )
        .group_by(*sender, InstanceRow.sop_class_uid)
        .order_by(func.min(InstanceRow.id))
    )  # fmt: skip
    rows = connection.execute(query).all()
    classes: dict[Peer, dict[str, int]] = {}
    for row in rows:
        classes.setdefault(Peer(row.calling_ae, row.called_ae, row.address), {})[row.sop_class_uid] = (
            row.instances
        )
    for peer, counted in classes.items():
        during = (job.first_received_at, job.last_received_at)
        _note_received(connection, study, peer, Action.CREATE, counted, during)
    if rows:
        told = max(row.last for row in rows)
        connection.execute(update(JobRow).where(JobRow.id == job.id).values(told=told))


def note_sent(
    connection: Connection, study_instance_uid: str, destination: str, sop_class_uids: Iterable[str]
) -> None:
    """Note objects that a destination has just taken."""
    query = select(StudyRow.patient_id).where(StudyRow.study_instance_uid == study_instance_uid)
    patient_id = connection.execute(query).scalar_one()
    counted = Counter(sop_class_uids)
    transfer = Transfer(study_instance_uid, patient_id, counted, Action.READ, now(), destination=destination)
    _note(connection, transfer)


def note_accessed(connection: Connection, job_id: int, asked_by: str, *, succeeded: bool) -> None:
    """Note that the study of a job was opened for a person's question, which has just been answered or has failed."""
    job = connection.execute(select(JobRow.study_id, JobRow.revision).where(JobRow.id == job_id)).one()
    study = connection.execute(select(StudyRow).where(StudyRow.id == job.study_id)).one()
    counted = (
        select(InstanceRow.sop_class_uid, func.count(InstanceRow.sop_instance_uid.distinct()))
        .where(
            InstanceRow.study_id == job.study_id,
            InstanceRow.revision <= job.revision,
            InstanceRow.kind.in_(PART_OF_STUDY),
        )
        .group_by(InstanceRow.sop_class_uid)
    )
    classes = dict(connection.execute(counted).all())
    access = Access(study.study_instance_uid, study.patient_id, classes, asked_by, succeeded, now())
    _note(connection, access)


def _note_received(
    connection: Connection,
    study: Any,
    peer: Peer,
    action: Action,
    sop_classes: Mapping[str, int],
    during: tuple[datetime, datetime],
) -> None:
    began, ended = during
    fetching = (
        select(FetchRow.archive, FetchRow.asked_by)
        .where(
            FetchRow.study_instance_uid == study.study_instance_uid,
            FetchRow.asked_at <= ended,
            FetchRow.ended_at.is_(None) | (FetchRow.ended_at >= began),
        )
        .order_by(FetchRow.id)
    )
    transfer = Transfer(
        study.study_instance_uid, study.patient_id, sop_classes, action, ended, peer,
        fetched_by={row.archive: row.asked_by for row in connection.execute(fetching)},
    )  # fmt: skip
    _note(connection, transfer)


def _note(connection: Connection, told: Transfer | Access) -> None:
    facts = _NOTE.dump_python(told, mode="json")
    connection.execute(insert(TransferRow).values(facts=facts))


def untold(connection: Connection, limit: int) -> dict[int, Transfer | Access]:
    """The oldest notes, by their numbers."""
    rows = connection.execute(select(TransferRow).order_by(TransferRow.id).limit(limit))
    return {row.id: _NOTE.validate_python(row.facts) for row in rows}


def forget_told(connection: Connection, numbers: Sequence[int]) -> None:
    """Drop the notes; their messages are durable."""
    connection.execute(delete(TransferRow).where(TransferRow.id.in_(numbers)))
