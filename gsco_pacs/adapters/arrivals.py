"""Enters received instances into the ledger. Every image goes through here, so the statements are made only once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gsco_pacs.adapters.moves import now, record
from gsco_pacs.adapters.refusals import note_once
from gsco_pacs.adapters.tables import InstanceRow, JobRow, QuestionRow, ReportRow, StudyRow
from gsco_pacs.adapters.transfers import note_came_again
from gsco_pacs.domain.correction import OF_THE_WHOLE_STUDY
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.registration import Registration
from gsco_pacs.domain.storage import Holding
from gsco_pacs.domain.study import Instance, Peer
from gsco_pacs.domain.transfer import Action

_SR_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
"""How the SOP Class UIDs of all SR documents begin."""

_MADE_HERE = (
    _SR_CLASSES,
    "1.2.840.10008.5.1.4.1.1.7",  # secondary captures
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentations
    "1.2.840.10008.5.1.4.1.1.30",  # parametric maps
)
"""How the SOP Class UIDs of the objects begin that the node itself makes; others are not looked up."""

_NO_IMAGES = (
    _SR_CLASSES,
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, segmentations
    "1.2.840.10008.5.1.4.1.1.30",  # parametric maps
    "1.2.840.10008.5.1.4.1.1.90.",  # assessments of content
)
"""How the SOP Class UIDs of objects begin that say something about images and are none themselves."""


_TOLD_AT_ONCE = {
    Registration.EQUAL: Action.READ,
    Registration.OWN: Action.READ,
    Registration.VARIANT: Action.UPDATE,
    Registration.ATTACHED: Action.CREATE,
}
"""What the audit trail tells of objects that open no job; images are told when their study is closed."""

_STUDY = select(StudyRow.id).where(StudyRow.study_instance_uid == bindparam("uid")).with_for_update()
_KNOWN = select(InstanceRow.id, InstanceRow.study_id, InstanceRow.sha256).where(
    InstanceRow.sop_instance_uid == bindparam("uid")
)
_OWN = (
    select(ReportRow.id)
    .where(ReportRow.sop_instance_uid == bindparam("uid"))
    .union_all(select(QuestionRow.id).where(QuestionRow.sop_instance_uid == bindparam("uid")))
)
_REVISION = select(func.max(JobRow.revision)).where(JobRow.study_id == bindparam("study"))
_RESENT = (
    update(InstanceRow)
    .where(InstanceRow.id == bindparam("row"))
    .values(resent=InstanceRow.resent + 1, holding=Holding.HERE)
)
_TOUCH = (
    update(JobRow)
    .where(JobRow.study_id == bindparam("study"), JobRow.state == State.COLLECTING)
    .values(last_received_at=bindparam("at"))
    .returning(JobRow.revision)
)
_OPEN = insert(JobRow).returning(JobRow.id)
_ENTER = insert(InstanceRow)
_SEEN = select(InstanceRow.sop_instance_uid).where(
    InstanceRow.sop_instance_uid.in_(bindparam("uids", expanding=True))
)


_IDENTITY = {"PatientID": "patient_id", "AccessionNumber": "accession_number"}
"""Keyword -> column of the study."""


class Arrivals:
    """The images of one study in one transaction; the study's row is locked until it ends."""

    def __init__(self, connection: Connection, first: Instance) -> None:
        self._connection = connection
        self._study = lock_study(connection, first.study_instance_uid) or self._new_study(first)
        self._revision = 0

    @property
    def study_id(self) -> int:
        """The study's row."""
        return self._study

    def enter(self, arrived: Sequence[tuple[Instance, Peer]]) -> list[Registration]:
        """Enter instances in this order; new ones join the study's collecting job, which is opened if there is none.

        Images that nobody has seen before, which is nearly all, share two statements.
        """
        uids = [instance.sop_instance_uid for instance, _ in arrived]
        seen = set(self._connection.execute(_SEEN, {"uids": uids}).scalars())
        registrations, new = [], []
        for instance, peer in arrived:
            is_plain = is_image(instance.sop_class_uid) and not instance.sop_class_uid.startswith(_MADE_HERE)
            if is_plain and instance.sop_instance_uid not in seen:
                new.append(self._row(instance, peer, Registration.KEPT, self._join_job()))
                registrations.append(Registration.KEPT)
            else:
                self._write(new)
                registrations.append(self._enter_one(instance, peer))
                new = []
            seen.add(instance.sop_instance_uid)
        self._write(new)
        told = [
            (instance.sop_class_uid, peer, _TOLD_AT_ONCE[registration])
            for (instance, peer), registration in zip(arrived, registrations, strict=True)
            if registration in _TOLD_AT_ONCE
        ]
        if told:
            note_came_again(self._connection, self._study, told)
        return registrations

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(_ENTER, rows)

    def _enter_one(self, instance: Instance, peer: Peer) -> Registration:
        known = self._connection.execute(_KNOWN, {"uid": instance.sop_instance_uid}).all()
        equal = next((row.id for row in known if row.sha256 == instance.sha256), None)
        if equal is not None:
            self._connection.execute(_RESENT, {"row": equal})
            return Registration.EQUAL
        elsewhere = [row.study_id for row in known if row.study_id != self._study]
        registration = self._registration(instance, known=len(known) > len(elsewhere))
        is_new = registration is Registration.KEPT
        revision = self._join_job() if is_new else self._newest_revision()
        row = self._row(instance, peer, registration, revision)
        self._write(
            [row | {"changes": self._moved(instance, elsewhere, peer) if is_new and elsewhere else None}]
        )
        return registration

    def _row(
        self, instance: Instance, peer: Peer, registration: Registration, revision: int
    ) -> dict[str, Any]:
        return {
            "study_id": self._study,
            "revision": revision,
            "kind": registration.value,
            "received_at": now(),
            "resent": 0,
            "series_instance_uid": instance.series_instance_uid,
            "sop_instance_uid": instance.sop_instance_uid,
            "sop_class_uid": instance.sop_class_uid,
            "transfer_syntax_uid": instance.transfer_syntax_uid,
            "sha256": instance.sha256,
            "size": instance.size,
            "path": instance.path,
            "header": dict(instance.header),
            "changes": None,
            "calling_ae": peer.calling_ae,
            "called_ae": peer.called_ae,
            "address": peer.address,
        }

    def _registration(self, instance: Instance, *, known: bool) -> Registration:
        may_be_ours = instance.sop_class_uid.startswith(_MADE_HERE)
        if may_be_ours and self._connection.execute(_OWN, {"uid": instance.sop_instance_uid}).first():
            return Registration.OWN
        if known:
            return Registration.VARIANT
        # Another node's draft, or the radiologist's report, must not make us draft again.
        return (
            Registration.KEPT
            if is_image(instance.sop_class_uid) or not self._newest_revision()
            else Registration.ATTACHED
        )

    def _moved(self, instance: Instance, studies: Sequence[int], peer: Peer) -> dict[str, list[str]]:
        """The study in which the same SOP Instance came before, as an archive sends it again after a merge."""
        query = select(StudyRow.study_instance_uid).where(StudyRow.id == max(studies))
        before, after = self._connection.execute(query).scalar_one(), instance.study_instance_uid
        reason = f"Images of study {before} came again in study {after}: they are kept in both."
        note_once(self._connection, peer, "moved", reason)
        return {"StudyInstanceUID": [before, after]}

    def correct(self, row_id: int, newer: Instance, changes: Mapping[str, tuple[str, str]]) -> int:
        """Let a variant take the former object's place in the collecting revision, and its header the study's; the revision."""
        revision = self._join_job(f"A corrected header came ({', '.join(changes) or 'of a deleted object'}).")
        values = {"kind": Registration.CORRECTED, "revision": revision, "changes": changes}
        self._connection.execute(update(InstanceRow).where(InstanceRow.id == row_id).values(**values))
        for keyword, column in _IDENTITY.items():
            if keyword in changes:
                study = update(StudyRow).where(StudyRow.id == self._study)
                self._connection.execute(study.values(**{column: _text(newer, keyword)}))
        return revision

    def _newest_revision(self) -> int:
        return self._connection.execute(_REVISION, {"study": self._study}).scalar() or 0

    def _join_job(self, because: str = "The first image was stored.") -> int:
        """The revision of the collecting job, opened ``because`` if there is none; one touch for a whole transaction."""
        if not self._revision:
            touch = {"study": self._study, "at": now()}
            self._revision = self._connection.execute(_TOUCH, touch).scalar() or self._open_job(because)
        return self._revision

    def _open_job(self, because: str) -> int:
        at, revision = now(), self._newest_revision() + 1
        job = {
            "study_id": self._study,
            "revision": revision,
            "state": State.COLLECTING,
            "stage": Stage.CONSULT,
            "first_received_at": at,
            "last_received_at": at,
        }
        record(
            self._connection,
            self._connection.execute(_OPEN, job).scalar_one(),
            State.COLLECTING,
            State.COLLECTING,
            Event.INSTANCE_STORED,
            stage=Stage.CONSULT,
            actor="receiver",
            reason=f"Revision {revision} was opened: {because}",
        )
        return revision

    def _new_study(self, first: Instance) -> int:
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        values = {
            "study_instance_uid": first.study_instance_uid,
            **{column: _text(first, keyword) for keyword, column in _IDENTITY.items()},
            "created_at": now(),
        }
        # Another receiver may have entered it since we looked.
        self._connection.execute(dialect.insert(StudyRow).on_conflict_do_nothing(), values)
        return int(self._connection.execute(_STUDY, {"uid": first.study_instance_uid}).scalar_one())


def newest_of_each(rows: Iterable[Any]) -> list[Any]:
    """Of each image the newest row, in the order of arrival but the one first whose patient or study was corrected last.

    Reports take patient and study from the first image, and the last word on them is the right one. ``rows`` are
    those of one study, part of it and in the order of their ids.
    """
    newest: dict[str, Any] = {}
    first = ""
    for row in rows:
        newest[row.sop_instance_uid] = row
        if row.kind == Registration.CORRECTED and not OF_THE_WHOLE_STUDY.isdisjoint(row.changes):
            first = row.sop_instance_uid
    return sorted(newest.values(), key=lambda row: row.sop_instance_uid != first)


def is_image(sop_class_uid: str) -> bool:
    """Whether objects of this class are images, and not something that is said about images."""
    return not sop_class_uid.startswith(_NO_IMAGES)


def lock_study(connection: Connection, study_instance_uid: str) -> int | None:
    """The row of the study, locked until the transaction ends; None if there is none."""
    return connection.execute(_STUDY, {"uid": study_instance_uid}).scalar()


def _text(instance: Instance, keyword: str) -> str:
    # PostgreSQL takes no NUL in text.
    return str(instance.header.get(keyword, "")).replace("\0", "")[:255]
