"""The housekeeper's broom: deletes, in small batches, what the configuration says that nobody needs here any more."""

import logging
import time

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.retention import Retention
from gsco_pacs.config import Config
from gsco_pacs.processes.parts import open_store

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0


class Cleaning:
    """One round every EVERY_SECONDS; without figures in ``retention`` it only finishes what was begun."""

    def __init__(self, database: Database, config: Config) -> None:
        confirming = [name for name, settings in config.destinations.items() if settings.confirm]
        self._retention = Retention(database, confirming)
        self._settings = config.retention
        self._store = open_store(config)
        self._done_at = -EVERY_SECONDS

    def tend(self) -> None:
        """Clean up if it is time; TransientError if disk or database do not take it."""
        if time.monotonic() - self._done_at < EVERY_SECONDS:
            return
        self._done_at = time.monotonic()
        if self._settings.images_days:
            self._retention.give_up_images(self._settings.images_days)
        if images := self._retention.delete_images(self._store.delete):
            log.info("%d received objects were deleted.", images)
        if self._settings.reports_days and (
            reports := self._retention.delete_reports(self._settings.reports_days)
        ):
            log.info("%d reports were deleted that their destinations keep.", reports)
