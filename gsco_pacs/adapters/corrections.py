"""The record of objects that came with a known SOP Instance UID and other bytes: which are corrections, which are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from gsco_pacs.adapters.arrivals import Arrivals
from gsco_pacs.adapters.ledger import Database, instance_of
from gsco_pacs.adapters.moves import supersede_older
from gsco_pacs.adapters.refusals import note_once
from gsco_pacs.adapters.tables import InstanceRow, StudyRow
from gsco_pacs.domain.completeness import Corrected
from gsco_pacs.domain.correction import OF_THE_WHOLE_STUDY, Differences
from gsco_pacs.domain.registration import PART_OF_STUDY, Registration
from gsco_pacs.domain.storage import Holding
from gsco_pacs.domain.study import Instance, Peer


@dataclass(frozen=True)
class Variant:
    """An object that nobody has compared yet, and the newest one before it with the same SOP Instance UID."""

    row_id: int
    newer: Instance
    former: Instance
    former_is_here: bool
    """False if its bytes were deleted or are about to be."""
    of_study: bool
    """Whether the former one is an image of the study, and not a report or the like that only stands beside it."""
    peer: Peer


class Corrections:
    """Used by the housekeeper, which compares what the receiver kept aside."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def variants(self, most: int) -> list[Variant]:
        """The oldest objects that were not compared yet."""
        query = (
            select(InstanceRow, StudyRow.study_instance_uid)
            .join(StudyRow, StudyRow.id == InstanceRow.study_id)
            .where(InstanceRow.kind == Registration.VARIANT, InstanceRow.changes.is_(None))
            .order_by(InstanceRow.id)
            .limit(most)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            return [_variant(row, _former(connection, row)) for row in rows]

    def correct(self, variant: Variant, differences: Differences) -> None:
        """Let the variant take the former's place, in the revision that is collecting or in a new one.

        If it corrects patient or study, unfinished revisions end at once: no draft may leave under the former name.
        """
        what = ", ".join(differences.attributes) or "of a deleted object"
        with self._database.writing() as connection:
            arrivals = Arrivals(connection, variant.newer)
            revision = arrivals.correct(variant.row_id, variant.newer, differences.attributes)
            if differences.concerns_the_study:
                supersede_older(
                    connection, arrivals.study_id, revision, f"A corrected header ({what}) opened"
                )

    def set_aside(self, variant: Variant, differences: Differences) -> None:
        """Leave the variant aside and tell the administrator, once for all of a study that are alike."""
        changes = update(InstanceRow).where(InstanceRow.id == variant.row_id)
        reason = (
            f"Study {variant.newer.study_instance_uid}: an object with a known SOP Instance UID was kept aside, "
            f"{differences.another_image or 'it says the same in other bytes'}."
        )
        with self._database.writing() as connection:
            connection.execute(changes.values(changes=dict(differences.attributes)))
            if differences.another_image:
                note_once(connection, variant.peer, "variant", reason)

    def of(self, study_instance_uid: str) -> Corrected | None:
        """How far a correction of patient or study has come; None if there was none."""
        query = (
            select(InstanceRow)
            .join(StudyRow, StudyRow.id == InstanceRow.study_id)
            .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.kind.in_(PART_OF_STUDY))
            .order_by(InstanceRow.id)
        )
        with self._database.reading() as connection:
            return _progress(connection.execute(query).all())


def _former(connection: Connection, row: Any) -> Any:
    query = (
        select(InstanceRow, StudyRow.study_instance_uid)
        .join(StudyRow, StudyRow.id == InstanceRow.study_id)
        .where(
            InstanceRow.study_id == row.study_id,
            InstanceRow.sop_instance_uid == row.sop_instance_uid,
            InstanceRow.id != row.id,
            InstanceRow.kind != Registration.VARIANT,
        )
        .order_by(InstanceRow.id.desc())
    )
    return connection.execute(query.limit(1)).one()


def _variant(row: Any, former: Any) -> Variant:
    peer = Peer(row.calling_ae, row.called_ae, row.address)
    return Variant(
        row.id,
        instance_of(row),
        instance_of(former),
        former.holding == Holding.HERE,
        former.kind in PART_OF_STUDY,
        peer,
    )


def _progress(rows: Sequence[Any]) -> Corrected | None:
    """The last correction of patient or study, whom it reached, and who still has the former values or came before it."""
    corrections = [
        row for row in rows
        if row.kind == Registration.CORRECTED and not OF_THE_WHOLE_STUDY.isdisjoint(row.changes)
    ]  # fmt: skip
    if not corrections:
        return None
    last = {k: change for k, change in corrections[-1].changes.items() if k in OF_THE_WHOLE_STUDY}
    reached = [
        row
        for row in corrections
        if all(row.changes.get(k, ["", ""])[1] == new for k, (_, new) in last.items())
    ]
    newest = {row.sop_instance_uid: row for row in rows}
    done = {row.sop_instance_uid for row in reached}
    left = [
        row for uid, row in newest.items()
        if uid not in done and (row.id < reached[0].id or _still_former(row.header, last))
    ]  # fmt: skip
    return Corrected(tuple(last), len(done), len(left))


def _still_former(header: dict[str, Any], last: dict[str, Any]) -> bool:
    return any(header.get(keyword, "") == former for keyword, (former, _) in last.items() if former)
