"""Whether a PACS keeps what it took, known by looking for it: with C-FIND or QIDO-RS, as the PACS is asked."""

from collections import defaultdict
from collections.abc import Sequence

from gsco_pacs.domain.archive import ArchivedSeries
from gsco_pacs.domain.commitment import NO_SUCH_INSTANCE, Named, Outcome
from gsco_pacs.domain.findings import Report
from gsco_pacs.ports import Archive


class ArchiveQuery:
    """Looks for every object in its series; implements ports.Confirming."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def confirm(self, transaction_uid: str, reports: Sequence[Report]) -> Outcome:
        """What the archive has and has not. Errors as in ports.Archive."""
        by_study: dict[str, list[ArchivedSeries]] = defaultdict(list)
        for study, series in dict.fromkeys((r.study_instance_uid, r.series_instance_uid) for r in reports):
            by_study[study].append(ArchivedSeries(series, "", "", None))
        there = {
            instance.sop_instance_uid
            for study, series_of_it in by_study.items()
            for instance in self._archive.list_instances(study, series_of_it)
        }
        named = [Named(report.sop_class_uid, report.sop_instance_uid) for report in reports]
        missing = [one for one in named if one.sop_instance_uid not in there]
        found = tuple(one for one in named if one.sop_instance_uid in there)
        return Outcome(transaction_uid, found, dict.fromkeys(missing, NO_SUCH_INSTANCE), by="query")
