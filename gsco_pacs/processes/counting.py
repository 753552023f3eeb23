"""Asks archives how much they hold of the studies that are arriving, beside the housekeeper's round: a slow one delays nobody."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from gsco_pacs.adapters.archive_counts import ArchiveCounts
from gsco_pacs.domain.errors import GscoError
from gsco_pacs.fetching import count_instances
from gsco_pacs.outlook import Outlook
from gsco_pacs.ports import Archive

log = logging.getLogger(__name__)

AT_ONCE = 4
"""So many questions are open at a time; more wait for the next round."""


class Counting:
    """At most one open question for each study; answers and failures are kept in the record."""

    def __init__(self, counts: ArchiveCounts, open_archive: Callable[[str], Archive]) -> None:
        self._counts = counts
        self._open_archive = open_archive
        self._asking: set[str] = set()

    def ask(self, study_instance_uid: str, outlook: Outlook, at: datetime) -> None:
        """Ask the archive of the study's route, if it has one and it is time; returns at once."""
        archive = outlook.route.ask if outlook.route else None
        is_due = outlook.told is None or at >= outlook.told.not_before
        if archive and is_due and study_instance_uid not in self._asking and len(self._asking) < AT_ONCE:
            self._asking.add(study_instance_uid)
            arguments = (study_instance_uid, archive, outlook.standing.last_received_at)
            # A daemon, so that no PACS can keep the housekeeper from ending.
            threading.Thread(target=self._ask, args=arguments, name="counting", daemon=True).start()

    def _ask(self, study_instance_uid: str, archive: str, last_received_at: datetime) -> None:
        try:
            self._keep(study_instance_uid, archive, last_received_at)
        except GscoError as error:
            log.warning("What archive %s holds could not be noted: %s", archive, error)
        except Exception:
            log.exception("Archive %s could not be asked.", archive)
        finally:
            self._asking.discard(study_instance_uid)

    def _keep(self, study_instance_uid: str, archive: str, last_received_at: datetime) -> None:
        own = self._counts.own_series(study_instance_uid)
        try:
            instances = count_instances(self._open_archive(archive), study_instance_uid, own)
        except GscoError as error:
            self._counts.fail(study_instance_uid, archive, last_received_at, str(error))
        else:
            self._counts.keep(study_instance_uid, archive, last_received_at, instances)
