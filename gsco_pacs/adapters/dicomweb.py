"""An archive that speaks DICOMweb: it is asked by QIDO-RS and fetched from by WADO-RS (PS3.18 sections 10.6 and 10.4)."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import httpx
from pydicom import Dataset

from gsco_pacs.adapters import archive_answers as answers
from gsco_pacs.adapters.dicom_files import incoming
from gsco_pacs.adapters.http_peer import HttpPeer
from gsco_pacs.adapters.multipart import PartReader
from gsco_pacs.adapters.qido import Question, find
from gsco_pacs.domain.archive import (
    ArchivedInstance,
    ArchivedSeries,
    ArchivedStudy,
    Criteria,
    Suboperations,
    Wanted,
)
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.part10 import take_apart
from gsco_pacs.domain.study import Peer
from gsco_pacs.settings.archives import DicomwebArchive

logger = logging.getLogger(__name__)

_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As they are stored: nothing is converted for us."""


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
        keys = answers.matching_keys(criteria)
        told = self._find(Question("/studies", "StudyInstanceUID", keys, answers.STUDY_KEYS))
        return answers.studies(told, criteria)

    def list_series(self, study_instance_uid: str) -> tuple[ArchivedSeries, ...]:
        """The series of a study; none if the archive does not know it."""
        # Only by the archive's count is it seen that a list was cut without a word.
        keys = {"StudyInstanceUID": study_instance_uid}
        study = self._find(Question("/studies", "StudyInstanceUID", keys, ("NumberOfStudyRelatedSeries",)))
        counted = answers.series_counted(study, study_instance_uid)
        path = f"/studies/{study_instance_uid}/series"
        return answers.series(
            self._find(Question(path, "SeriesInstanceUID", {}, answers.SERIES_KEYS, counted))
        )

    def list_instances(
        self, study_instance_uid: str, series: Sequence[ArchivedSeries]
    ) -> tuple[ArchivedInstance, ...]:
        """Every object of these series."""
        found: list[ArchivedInstance] = []
        for one in series:
            path = f"/studies/{study_instance_uid}/series/{one.series_instance_uid}/instances"
            counted = one.instances or self._instances_counted(study_instance_uid, one.series_instance_uid)
            told = self._find(Question(path, "SOPInstanceUID", {}, answers.INSTANCE_KEYS, counted))
            found += answers.instances(told, study_instance_uid, one.series_instance_uid)
        return tuple(found)

    def _instances_counted(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        path, keys = f"/studies/{study_instance_uid}/series", {"SeriesInstanceUID": series_instance_uid}
        told = answers.series(self._find(Question(path, "SeriesInstanceUID", keys, answers.SERIES_KEYS)))
        return next((one.instances for one in told if one.series_instance_uid == series_instance_uid), None)

    def _find(self, question: Question) -> list[Dataset]:
        return find(self._peer, self._settings, question)

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


def _paths(wanted: Wanted) -> Iterator[str]:
    study = f"/studies/{wanted.study_instance_uid}"
    if wanted.whole:
        yield study
        return
    for one in wanted.instances:
        yield f"{study}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"
