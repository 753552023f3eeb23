"""An archive that speaks DICOMweb: it is asked by QIDO-RS and fetched from by WADO-RS (PS3.18 sections 10.6 and 10.4)."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import httpx
from pydicom import Dataset

from gsco_pacs.adapters import archive_answers as answers
from gsco_pacs.adapters.dicom_files import incoming
from gsco_pacs.adapters.http_peer import HttpPeer, chunks
from gsco_pacs.adapters.multipart import PartReader
from gsco_pacs.domain.archive import (
    ArchivedInstance,
    ArchivedSeries,
    ArchivedStudy,
    Criteria,
    Suboperations,
    Wanted,
)
from gsco_pacs.domain.errors import BadObjectError, RejectedByPeerError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.part10 import take_apart
from gsco_pacs.domain.study import Peer
from gsco_pacs.settings.archives import DicomwebArchive

logger = logging.getLogger(__name__)

_JSON = "application/dicom+json"
_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As they are stored: nothing is converted for us."""
_BYTES_A_MATCH = 4096
"""More than any answer to our queries needs; the JSON model is verbose."""


class Dicomweb:
    """Asks an archive over HTTP; implements ports.Archive."""

    def __init__(self, name: str, peer: HttpPeer, settings: DicomwebArchive) -> None:
        self._name = name
        self._peer = peer
        self._settings = settings
        self._source = Peer(name[:16], "DICOMWEB", httpx.URL(peer.url).host)

    @property
    def name(self) -> str:
        """The name in config.yaml."""
        return self._name

    def find_studies(self, criteria: Criteria) -> tuple[ArchivedStudy, ...]:
        """The studies that meet ``criteria``, newest first."""
        return answers.studies(
            self._find("/studies", answers.matching_keys(criteria), answers.STUDY_KEYS), criteria
        )

    def list_series(self, study_instance_uid: str) -> tuple[ArchivedSeries, ...]:
        """The series of a study; none if the archive does not know it."""
        return answers.series(self._find(f"/studies/{study_instance_uid}/series", {}, answers.SERIES_KEYS))

    def list_instances(
        self, study_instance_uid: str, series: Sequence[ArchivedSeries]
    ) -> tuple[ArchivedInstance, ...]:
        """Every object of these series."""
        found: list[ArchivedInstance] = []
        for one in series:
            path = f"/studies/{study_instance_uid}/series/{one.series_instance_uid}/instances"
            told = self._find(path, {}, answers.INSTANCE_KEYS)
            found += answers.instances(told, study_instance_uid, one.series_instance_uid)
        return tuple(found)

    def retrieve(
        self,
        wanted: Wanted,
        take: Callable[[Incoming], None],
        progress: Callable[[Suboperations], None],
    ) -> Suboperations:
        """Fetch the objects, the whole study in one answer or one by one; one that fails stops no other."""
        done = Suboperations()
        for path in _paths(wanted):
            for file in self._files(path):
                try:
                    take(incoming(take_apart(file), self._source))
                    done = replace(done, completed=done.completed + 1)
                except BadObjectError as error:
                    logger.warning("An object of %s was not taken: %s", self._name, error)
                    done = replace(done, failed=done.failed + 1)
                progress(done)
        return done

    def _files(self, path: str) -> Iterator[bytearray]:
        with self._peer.answer(path, accept=_FILES, understood=(200, 404)) as response:
            if response.status_code == 404:  # it listed it, but has it no longer
                return
            reader = PartReader(
                response.headers.get("Content-Type", ""), self._settings.maximum_instance_bytes
            )
            for piece in response.iter_raw():
                yield from reader.feed(piece)
            reader.end()

    def _find(self, path: str, matching: Mapping[str, str], wanted: Sequence[str]) -> list[Dataset]:
        keys = [(keyword, value) for keyword, value in matching.items() if value]
        keys += [("includefield", keyword) for keyword in (*matching, *wanted)]
        most = self._settings.maximum_matches
        keys.append(("limit", str(most + 1)))
        with self._peer.answer(path, accept=_JSON, query=keys, understood=(200, 204, 404)) as response:
            if response.status_code != 200:
                return []
            most_bytes, seconds = (most + 1) * _BYTES_A_MATCH, self._settings.query_seconds
            found = _data_sets(b"".join(chunks(response, most_bytes=most_bytes, seconds=seconds)))
        if len(found) > most:
            raise RejectedByPeerError(f"{self._peer} has too many answers: ask for less.")
        return found


def _paths(wanted: Wanted) -> Iterator[str]:
    study = f"/studies/{wanted.study_instance_uid}"
    if wanted.whole:
        yield study
        return
    for one in wanted.instances:
        yield f"{study}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"


def _data_sets(body: bytes) -> list[Dataset]:
    """The array of PS3.18 section F.2; BadObjectError if it is none."""
    try:
        return [Dataset.from_json(item) for item in json.loads(body or b"[]")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadObjectError(
            f"The archive's answer is not in the DICOM JSON model: {type(error).__name__}."
        ) from error
