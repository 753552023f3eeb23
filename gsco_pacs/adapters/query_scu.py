"""An archive that speaks DIMSE: it is asked by C-FIND (PS3.4 C.4.1), and fetched from as retrieve_scu.py does it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find  # type: ignore[attr-defined]

from gsco_pacs.adapters import archive_answers as answers
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.retrieve_scu import get, move
from gsco_pacs.adapters.retrieve_status import PENDING, REMEDIES, must_be_carried_out
from gsco_pacs.domain.archive import (
    ArchivedInstance,
    ArchivedSeries,
    ArchivedStudy,
    Criteria,
    Query,
    Suboperations,
    Wanted,
)
from gsco_pacs.domain.errors import PeerUnavailableError, RejectedByPeerError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.settings.archives import DimseArchive


class QueryScu:
    """Asks an archive over one association per call; implements ports.Archive. ``tell`` learns of each query before it goes."""

    def __init__(
        self,
        name: str,
        peer: CalledPeer,
        settings: DimseArchive,
        tell: Callable[[Query], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._peer = peer
        self._settings = settings
        self._tell = tell

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

    def retrieve(
        self,
        wanted: Wanted,
        take: Callable[[Incoming], None],
        progress: Callable[[Suboperations], None],
    ) -> Suboperations:
        """Fetch the objects by C-MOVE, to the receiver, or by C-GET, to ``take``; one that fails stops no other."""
        if self._settings.retrieve == "move":
            return move(self._peer, wanted, self._settings.retrieve_seconds, progress)
        return get(self._peer, wanted, self._settings.retrieve_seconds, take, progress)

    @contextmanager
    def _asking(self) -> Iterator[Association]:
        context = build_context(Find, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        with self._peer.association([context], f"takes no queries: {REMEDIES[0x0122]}.") as association:
            yield association

    def _find(self, association: Association, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        query = Dataset()
        if not all(value.isascii() for value in keys.values()):
            query.SpecificCharacterSet = "ISO_IR 192"
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        syntax = association.accepted_contexts[0].transfer_syntax[0]
        identifier = encode(query, syntax.is_implicit_VR, syntax.is_little_endian)
        self._tell(Query(Find, identifier or b"", syntax))
        found: list[Dataset] = []
        deadline = time.monotonic() + self._settings.query_seconds
        try:
            for status, answer in association.send_c_find(query, Find):
                if status.get("Status") not in PENDING:
                    must_be_carried_out(self._peer, status, "the query")
                    break
                if len(found) == self._settings.maximum_matches or time.monotonic() > deadline:
                    association.abort()
                    raise RejectedByPeerError(f"{self._peer} has too many answers: ask for less.")
                if answer is not None:
                    found.append(answer)
        except RuntimeError as error:
            raise PeerUnavailableError(f"{self._peer} hung up before the query.") from error
        return found
