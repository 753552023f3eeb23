"""``gsco-pacs fetch``: studies come from an archive through the same door as from a modality."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.fetch_ledger import Fetches
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.transfer_syntaxes import storage_sop_classes
from gsco_pacs.config import Config
from gsco_pacs.domain.archive import Criteria
from gsco_pacs.domain.errors import ConfigError, GscoError, NotApplicableError
from gsco_pacs.domain.fetch import FetchState
from gsco_pacs.domain.job import SETTLED, State
from gsco_pacs.domain.study import valid_uid
from gsco_pacs.fetching import Fetched, fetch
from gsco_pacs.ports import Archive
from gsco_pacs.processes.filing import open_intake
from gsco_pacs.processes.parts import open_database, start_logging
from gsco_pacs.processes.peers import open_archive
from gsco_pacs.settings.archives import DimseArchive

_MOST_STUDIES = 100
_POLL_SECONDS = 0.5


def fetch_studies(
    config: Config, archive_name: str, criteria: Criteria, asked_by: str, wait_seconds: float
) -> bool:
    """Fetch every study that meets ``criteria``, show how far it is, and wait until they are read; True if all came."""
    start_logging("fetch")
    _must_be_usable(config, archive_name, criteria)
    archive, database, console = open_archive(archive_name, config), open_database(config), Console()
    uids = _wanted(archive, criteria)
    results = [_fetch_one(config, database, archive, uid, asked_by, console) for uid in uids]
    if wait_seconds and all(results):
        return _read_in_time(Audit(database), uids, wait_seconds, console)
    return all(results)


def _must_be_usable(config: Config, name: str, criteria: Criteria) -> None:
    if not (criteria.study_instance_uid or criteria.accession_number or criteria.patient_id):
        raise ConfigError("Say which study: its UID, --accession or --patient-id.")
    if criteria.study_instance_uid:
        valid_uid(criteria.study_instance_uid)
    must_be_a_sender(config, name)


def must_be_a_sender(config: Config, name: str) -> None:
    """ConfigError if an archive is to send by C-MOVE what the receiver would reject."""
    settings = config.archives.get(name)
    if not isinstance(settings, DimseArchive) or settings.retrieve == "get":
        return
    if settings.ae_title not in {sender.ae_title for sender in config.receiver.senders}:
        raise ConfigError(
            f"archives.{name}: with `retrieve: move` {settings.ae_title} sends the images to the receiver, but it is not in "
            f'receiver.senders; add "- {{ae_title: {settings.ae_title}}}" there and restart the receiver, or fetch by '
            "`retrieve: get`."
        )


def _wanted(archive: Archive, criteria: Criteria) -> tuple[str, ...]:
    if criteria == Criteria(study_instance_uid=criteria.study_instance_uid):
        return (criteria.study_instance_uid,)
    found = archive.find_studies(criteria)
    if not found:
        raise NotApplicableError(f"{archive.name} has no such study.")
    if len(found) > _MOST_STUDIES:
        raise ConfigError(
            f"{archive.name} has {len(found)} such studies, more than {_MOST_STUDIES}: ask for less."
        )
    return tuple(study.study_instance_uid for study in found)


def _fetch_one(
    config: Config, database: Database, archive: Archive, uid: str, asked_by: str, console: Console
) -> bool:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"fetching {uid}", total=None)

        def show(fetched: Fetched) -> None:
            came = fetched.here + fetched.suboperations.completed + fetched.suboperations.warning
            bar.update(task, total=fetched.listed, completed=min(came, fetched.listed))

        try:
            fetched = recorded_fetch(config, database, archive, uid, asked_by, show)
        except GscoError as error:
            console.print(f"{uid}: {error}", markup=False, highlight=False)
            return False
    counts = fetched.suboperations
    console.print(
        f"{uid}: {fetched.here} of {fetched.listed} objects are here"
        + (f", {fetched.not_taken} are of a kind that the node does not take" if fetched.not_taken else "")
        + f"; sub-operations: {counts.completed} completed, {counts.failed} failed, {counts.warning} with a warning"
        + (f". {fetched.why}" if fetched.why else ""),
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    return fetched.complete


def recorded_fetch(
    config: Config,
    database: Database,
    archive: Archive,
    uid: str,
    asked_by: str,
    show: Callable[[Fetched], None] = lambda _: None,
    *,
    job_id: int | None = None,
    modalities: Collection[str] = (),
) -> Fetched:
    """Fetch a study and keep in the record who wanted it and what came of it; errors of ``fetching.fetch``."""
    fetches = Fetches(database)
    number = fetches.begin(uid, archive.name, asked_by, job_id)
    try:
        with open_intake(config, database) as take:
            fetched = fetch(
                archive,
                uid,
                here=fetches.here,
                take=take,
                sop_classes=storage_sop_classes(),
                modalities=modalities,
                pauses=config.archives[archive.name].pauses,
                progress=show,
            )
    except BaseException as error:  # Ctrl-C, too: nobody may be named for what comes later
        ours = isinstance(error, GscoError)
        fetches.end(number, FetchState.FAILED, str(error) if ours else f"Ended by {type(error).__name__}.")
        raise
    state = FetchState.COMPLETE if fetched.complete else FetchState.INCOMPLETE
    counts = asdict(fetched.suboperations) | {
        "listed": fetched.listed, "not_taken": fetched.not_taken, "here": fetched.here, "tries": fetched.tries
    }  # fmt: skip
    fetches.end(number, state, fetched.why, counts)
    return fetched


def _read_in_time(audit: Audit, uids: Sequence[str], seconds: float, console: Console) -> bool:
    """Wait until the newest job of each study has settled; False if one has not in ``seconds``."""
    deadline, left = time.monotonic() + seconds, list(uids)
    while left and time.monotonic() < deadline:
        for uid in list(left):
            job = audit.study(uid).revisions[0].job
            if State(job.state) in SETTLED:
                console.print(
                    f"{uid}: {job.state}. {job.reason}", markup=False, highlight=False, soft_wrap=True
                )
                left.remove(uid)
        time.sleep(_POLL_SECONDS if left else 0)
    for uid in left:
        console.print(f"{uid}: not read after {seconds:g} s.", markup=False, highlight=False)
    return not left
