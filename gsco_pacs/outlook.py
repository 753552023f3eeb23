"""What is known of the studies that are arriving, for ``intake.close_if_complete``: looked up only when something changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gsco_pacs.config import Config
from gsco_pacs.domain.completeness import Counted, Heard, Patience, Standing
from gsco_pacs.domain.study import Routing
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.steps.route import expected, route

if TYPE_CHECKING:
    from gsco_pacs.adapters.announcements import Announcements
    from gsco_pacs.adapters.archive_counts import ArchiveCounts, Told
    from gsco_pacs.adapters.corrections import Corrections
    from gsco_pacs.adapters.ledger import Collecting, Ledger


_STREAMING_SECONDS = 0.5
"""Images that follow each other faster than this are not looked through one by one."""


@dataclass(frozen=True)
class Outlook:
    """One arriving study: the route that it would take as it is now, what speaks for and against closing it, how long to wait."""

    routing: Routing
    route: RouteSettings | None
    standing: Standing
    patience: Patience
    told: "Told | None" = None
    """What an archive said of it last."""

    @property
    def is_stat(self) -> bool:
        """Whether the study overtakes routine ones."""
        return self.route is not None and self.route.priority == "stat"


class Outlooks:
    """Remembers each outlook until the study changes; a study in the midst of its images is not looked at."""

    def __init__(
        self,
        ledger: "Ledger",
        announcements: "Announcements",
        corrections: "Corrections",
        counts: "ArchiveCounts",
        config: Config,
    ) -> None:
        self._ledger = ledger
        self._announcements = announcements
        self._corrections = corrections
        self._counts = counts
        self._heard: Mapping[str, Heard] = {}
        self._told: Mapping[str, Told] = {}
        self._asks = any(each.ask for each in config.routes)
        self._config = config
        self._known: dict[int, tuple[object, Outlook]] = {}

    def of(self, collecting: "Collecting", at: datetime) -> Outlook | None:
        """The outlook of one study; None while it is too early for any evidence."""
        heard = self._heard.get(collecting.study_instance_uid)
        quiet = (at - collecting.last_received_at).total_seconds()
        announced = heard is not None and heard.finished and quiet >= _STREAMING_SECONDS
        if not announced and not self._may_be_complete(collecting, at):
            return None
        key = (collecting.last_received_at, heard, self._told.get(collecting.study_instance_uid))
        known, outlook = self._known.get(collecting.job_id, (None, None))
        if outlook is None or known != key:
            outlook = self._look(collecting)
            self._known[collecting.job_id] = key, outlook
        return outlook

    def refresh(self, arriving: Iterable["Collecting"]) -> None:
        """Hear what was announced and told, and forget every study that is no longer arriving."""
        self._heard = self._announcements.heard()
        self._told = self._counts.told() if self._asks else {}
        jobs = {each.job_id for each in arriving}
        self._known = {job_id: known for job_id, known in self._known.items() if job_id in jobs}

    def _may_be_complete(self, collecting: "Collecting", at: datetime) -> bool:
        """Whether the shortest of all waits has passed: only then the study's headers are read."""
        settings, routes = self._config.settle, self._config.routes
        quiet = [settings.quiet_seconds, *(r.quiet_seconds for r in routes if r.quiet_seconds)]
        quiet += [settings.settle_seconds for r in routes if r.expects or r.ask]
        deadline = [settings.deadline_seconds, *(r.deadline_seconds for r in routes if r.deadline_seconds)]
        return (at - collecting.last_received_at).total_seconds() >= min(quiet) or (
            at - collecting.first_received_at
        ).total_seconds() >= min(deadline)

    def _look(self, collecting: "Collecting") -> Outlook:
        study = self._ledger.study(collecting.job_id)
        routing = route([instance.header for instance in study.instances], self._config.routes)
        chosen = self._config.route(routing.route) if routing.route else None
        told = self._told.get(study.study_instance_uid)
        announced, named = self._announcements.of(study.study_instance_uid)
        standing = Standing(
            first_received_at=collecting.first_received_at,
            last_received_at=collecting.last_received_at,
            revision=collecting.revision,
            instances=self._counts.here(study.study_instance_uid),
            expected=expected(study.instances, chosen) if chosen else (),
            announced=announced,
            counted=_counted(told, collecting.last_received_at),
            unanswered=told.error if told else "",
            corrected=self._corrections.of(study.study_instance_uid),
            unannounced=sum(instance.sop_instance_uid not in named for instance in study.instances),
        )
        return Outlook(routing, chosen, standing, self._patience(chosen), told)

    def _patience(self, chosen: RouteSettings | None) -> Patience:
        settings = self._config.settle
        quiet = chosen.quiet_seconds if chosen else None
        deadline = chosen.deadline_seconds if chosen else None
        return Patience(
            quiet_seconds=quiet or settings.quiet_seconds,
            settle_seconds=settings.settle_seconds,
            deadline_seconds=deadline or settings.deadline_seconds,
        )


def _counted(told: "Told | None", last_received_at: datetime) -> Counted | None:
    """The archive's count; what it said before the newest image came counts as said never."""
    if told is None or told.instances is None:
        return None
    return Counted(
        told.archive, told.instances, told.times if told.last_received_at == last_received_at else 0
    )
