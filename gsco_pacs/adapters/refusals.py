"""Writes what an administrator should look at: what was not taken, and what was taken but is odd."""

from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import RefusalRow
from gsco_pacs.domain.study import Peer


def note(
    connection: Connection, peer: Peer, what: str, reason: str, times: int = 1, at: datetime | None = None
) -> None:
    """Note ``what`` a peer sent, how often, when (now), and why it was not taken as it is; ``reason`` holds no patient data."""
    connection.execute(
        insert(RefusalRow).values(
            at=at or now(), calling_ae=peer.calling_ae, called_ae=peer.called_ae, address=peer.address,
            what=what, reason=reason, times=times,
        )
    )  # fmt: skip


def note_once(connection: Connection, peer: Peer, what: str, reason: str) -> None:
    """The same, unless it is noted already: a large study says everything hundreds of times."""
    known = select(func.count()).where(RefusalRow.what == what, RefusalRow.reason == reason)
    if not connection.execute(known).scalar():
        note(connection, peer, what, reason)
