"""A destination that is a folder: reports become files in it."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gsco_pacs.adapters.durable_file import sync_folder, write_durably
from gsco_pacs.domain.errors import GscoError, OutOfResourcesError, PeerUnavailableError, RejectedByPeerError
from gsco_pacs.domain.findings import ObjectKind, Receipt, Report
from gsco_pacs.domain.study import valid_uid

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_AWAY = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)


@dataclass(frozen=True)
class Folder:
    """Writes reports to <path>/<Study Instance UID>/<kind>-<SOP Instance UID>.dcm; implements ports.Destination."""

    name: str
    """The name in config.yaml."""
    path: Path
    objects: frozenset[ObjectKind] = frozenset(ObjectKind)
    """The kinds of objects that are written there."""

    def send(self, reports: Sequence[Report]) -> tuple[Receipt, ...]:
        """Write all, each in one piece; the receipt's status is the file's path. Errors as in ports.Destination."""
        try:
            return tuple(self._write(report) for report in reports)
        except OSError as error:
            raise self._explained(error) from error

    def _write(self, report: Report) -> Receipt:
        # The Study Instance UID came from a peer: a name such as "../.." must not become a path.
        folder = self.path / valid_uid(report.study_instance_uid)
        file = folder / f"{report.kind}-{valid_uid(report.sop_instance_uid)}.dcm"
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(file, report.content)
        sync_folder(self.path)
        return Receipt(self.name, report.sop_instance_uid, str(file))

    def _explained(self, error: OSError) -> GscoError:
        message = f"The folder {self.path} took no report: {error.strerror}."
        if error.errno in _FULL:
            return OutOfResourcesError(message)
        if error.errno in _AWAY:
            return PeerUnavailableError(message)
        return RejectedByPeerError(
            f"{message} Let the node's user write there, or change the destination's path."
        )
