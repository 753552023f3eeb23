"""An archive that speaks DIMSE: it is asked by C-FIND (PS3.4 C.4.1)."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find  # type: ignore[attr-defined]

from gsco_pacs.adapters import archive_answers as answers
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.domain.archive import ArchivedInstance, ArchivedSeries, ArchivedStudy, Criteria
from gsco_pacs.domain.errors import GscoError, PeerBusyError, PeerUnavailableError, RejectedByPeerError
from gsco_pacs.settings.archives import DimseArchive

_PENDING = (0xFF00, 0xFF01)
_REMEDIES = {
    0x0122: "switch on Study Root Query/Retrieve there for our AE title",
    0x0124: "allow our AE title to ask and to fetch there",
    0xA801: "register our AE title there as a move destination, with the receiver's address and port",
}
_TRANSIENT = (0x0110, 0xFE00)
"""Processing failure, and cancelled by the archive: both may pass."""


class QueryScu:
    """Asks an archive over one association per call; implements ports.Archive."""

    def __init__(self, name: str, peer: CalledPeer, settings: DimseArchive) -> None:
        self._name = name
        self._peer = peer
        self._settings = settings

    @property
    def name(self) -> str:
        """The name in config.yaml."""
        return self._name

    def find_studies(self, criteria: Criteria) -> tuple[ArchivedStudy, ...]:
        """The studies that meet ``criteria``, newest first."""
        keys = answers.matching_keys(criteria) | dict.fromkeys(answers.STUDY_KEYS, "")
        with self._asking() as association:
            return answers.studies(self._find(association, "STUDY", keys), criteria)

    def list_series(self, study_instance_uid: str) -> tuple[ArchivedSeries, ...]:
        """The series of a study; none if the archive does not know it."""
        keys = {"StudyInstanceUID": study_instance_uid, **dict.fromkeys(answers.SERIES_KEYS, "")}
        with self._asking() as association:
            return answers.series(self._find(association, "SERIES", keys))

    def list_instances(
        self, study_instance_uid: str, series: Sequence[ArchivedSeries]
    ) -> tuple[ArchivedInstance, ...]:
        """Every object of these series."""
        found: list[ArchivedInstance] = []
        with self._asking() as association:
            for one in series:
                unique = {
                    "StudyInstanceUID": study_instance_uid,
                    "SeriesInstanceUID": one.series_instance_uid,
                }
                told = self._find(association, "IMAGE", unique | dict.fromkeys(answers.INSTANCE_KEYS, ""))
                found += answers.instances(told, *unique.values())
        return tuple(found)

    @contextmanager
    def _asking(self) -> Iterator[Association]:
        context = build_context(Find, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        with self._peer.association([context], f"takes no queries: {_REMEDIES[0x0122]}.") as association:
            yield association

    def _find(self, association: Association, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        query = Dataset()
        if not all(value.isascii() for value in keys.values()):
            query.SpecificCharacterSet = "ISO_IR 192"
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        found: list[Dataset] = []
        deadline = time.monotonic() + self._settings.query_seconds
        try:
            for status, answer in association.send_c_find(query, Find):
                if status.get("Status") not in _PENDING:
                    _must_have_succeeded(self._peer, status, "the query")
                    break
                if len(found) == self._settings.maximum_matches or time.monotonic() > deadline:
                    association.abort()
                    raise RejectedByPeerError(f"{self._peer} has too many answers: ask for less.")
                if answer is not None:
                    found.append(answer)
        except RuntimeError as error:
            raise PeerUnavailableError(f"{self._peer} hung up before the query.") from error
        return found


def _must_have_succeeded(peer: CalledPeer, answer: Dataset, what: str) -> None:
    if "Status" not in answer:
        raise PeerUnavailableError(f"{peer} hung up or did not answer {what}.")
    error = failure(peer, answer.Status, what)
    if error is not None:
        raise error


def failure(peer: CalledPeer, status: int, what: str) -> GscoError | None:
    """What the final status of a C-FIND, C-MOVE or C-GET means; None if it was carried out, if only in part.

    PS3.4 tables C.4-1, C.4-2, C.4-3 and PS3.7 annex C: A7xx (out of resources), 0110 and FE00 (cancelled) may pass;
    A8xx, A9xx, Cxxx, 0122 and 0124 need a person.
    """
    if status == 0x0000 or status >> 12 == 0xB:
        return None
    words = f"{peer} answered {what} with the status 0x{status:04X}"
    if status >> 8 == 0xA7 or status in _TRANSIENT:
        return PeerBusyError(f"{words}: it cannot do it at present.")
    return RejectedByPeerError(f"{words}: {_REMEDIES.get(status, 'look into its log')}.")
