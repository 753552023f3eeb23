"""Step of walk 2: the reports go to every destination of the route."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gsco_pacs.domain.errors import GscoError, PeerUnavailableError, PermanentError, TransientError
from gsco_pacs.domain.findings import Receipt, Report
from gsco_pacs.ports import Destination


@dataclass(frozen=True)
class Failure:
    """A destination that did not take everything, and why."""

    destination: str
    error: GscoError


@dataclass(frozen=True)
class Deliveries:
    """What the destinations took in this attempt, and who did not."""

    receipts: tuple[Receipt, ...]
    failures: tuple[Failure, ...]

    @property
    def error(self) -> TransientError | PermanentError | None:
        """None if all went well; transient if trying again may help at one destination, else permanent."""
        if not self.failures:
            return None
        reasons = "; ".join(f"{failure.destination}: {failure.error}" for failure in self.failures)
        passing = any(isinstance(failure.error, TransientError) for failure in self.failures)
        return TransientError(reasons) if passing else PermanentError(reasons)


def deliver(
    reports: Sequence[Report], destinations: Sequence[Destination], receipts: Sequence[Receipt] = ()
) -> Deliveries:
    """Send each destination the objects that it gave no receipt for; a failure of one holds up none of the others.

    ``receipts`` are those of earlier attempts. The caller stores the new ones before it looks at the error. Evidence
    that a destination will take later holds its SRs back; evidence that it refuses for good does not.
    """
    taken = {(receipt.destination, receipt.sop_instance_uid) for receipt in receipts}
    got: list[Receipt] = []
    failures: list[Failure] = []
    for destination in destinations:
        for report in _owed(reports, destination, taken):
            # One at a time, so that the receipt of what was taken survives a failure of the next.
            try:
                got.extend(destination.send([report]))
            except PeerUnavailableError as error:
                failures.append(Failure(destination.name, error))
                break
            except TransientError as error:
                failures.append(Failure(destination.name, error))
                if report.kind.is_evidence:
                    break
            except PermanentError as error:
                failures.append(Failure(destination.name, error))
    return Deliveries(tuple(got), tuple(failures))


def _owed(
    reports: Sequence[Report], destination: Destination, taken: Collection[tuple[str, str]]
) -> list[Report]:
    """What the destination takes and has not got: evidence first, so that no SR points at what is not there yet."""
    owed = (
        report
        for report in reports
        if report.kind in destination.objects and (destination.name, report.sop_instance_uid) not in taken
    )
    return sorted(owed, key=lambda report: not report.kind.is_evidence)
