"""The demo: a node of its own, a study sent over DICOM, and the draft shown to the person."""

import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydicom.uid import UID
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gsco_pacs.adapters.audit import Audit, Revision, StudyHistory
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.node_process import free_port, running_node
from gsco_pacs.adapters.send_files import Sent, send_files
from gsco_pacs.config import Config, find_config, load_config
from gsco_pacs.domain.errors import OutOfResourcesError
from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.domain.job import SETTLED, Stage, State
from gsco_pacs.domain.study import Instance, StoredFile
from gsco_pacs.pixels.rendering import png
from gsco_pacs.pixels.sheet import Bar, sheet
from gsco_pacs.ports import InputContract
from gsco_pacs.processes.parts import store_dir
from gsco_pacs.sr.reading import as_text
from gsco_pacs.steps.prepare import prepare

FINISH_SECONDS = 600.0
_ANY_IMAGE = InputContract((), (), (), (), min_rows=1, min_columns=1, max_images=1)


def run_demo(files: Sequence[Path], out: Path) -> bool:
    """Send ``files`` to a node on a free port and show what came of each study; True if every job settled well."""
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    config_file = _write_config(out)
    config = load_config(config_file)
    migrate(config.database_url)
    audit = Audit(Database(open_engine(config.database_url)))
    console.print(f"The node is starting; its log: {out / 'node.log'}")
    with running_node(config, config_file, out / "node.log"):
        sent = send_files(files, _scp(config), lambda one: _say_sent(console, one))
        studies = list(dict.fromkeys(one.study_instance_uid for one in sent if one.status is not None))
        histories = _watch(console, audit, studies)
    for history in histories:
        _show(console, history, audit, config, out)
    return all(history.revisions[0].job.state in (State.DELIVERED, State.SKIPPED) for history in histories)


def _write_config(out: Path) -> Path:
    """The configuration that is in force, with a state of its own, a free port and a short quiet time."""
    content = yaml.safe_load(find_config().read_text(encoding="utf-8"))
    original = load_config(find_config())
    # Nothing of a production node may be touched: a database, a broker and destinations of its own.
    content |= {"state": "state", "database": "sqlite", "broker": "folder"}
    content["models"] = [str(original.absolute(folder)) for folder in original.models]
    content["receiver"] |= {"host": "127.0.0.1", "port": free_port()}
    content["settle"] = {"quiet_seconds": 2}
    content["destinations"] = {
        name: {"kind": "folder", "path": "reports"} for name in content["destinations"]
    }
    path = out.absolute() / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _scp(config: Config) -> CalledPeer:
    receiver = config.receiver
    return CalledPeer(receiver.ae_title, receiver.host, receiver.port, receiver.senders[0].ae_title, 30)


def _say_sent(console: Console, sent: Sent) -> None:
    answer = "refused" if sent.status is None else f"0x{sent.status:04X}"
    console.print(f"C-STORE {sent.path.name}: {answer}", highlight=False)


def _watch(console: Console, audit: Audit, studies: Sequence[str]) -> list[StudyHistory]:
    deadline = time.monotonic() + FINISH_SECONDS
    with Live(console=console, refresh_per_second=5) as live:
        while True:
            # A study has no row yet when its images have just been acknowledged.
            histories = [audit.study(uid) for uid in studies if audit.jobs(search=uid, limit=1)[0]]
            live.update(_progress(histories))
            if len(histories) == len(studies) and all(
                State(history.revisions[0].job.state) in SETTLED for history in histories
            ):
                return histories
            if time.monotonic() > deadline:
                raise OutOfResourcesError(f"Not finished in {FINISH_SECONDS:g} s: see the node's log.")
            time.sleep(0.2)


def _progress(histories: Sequence[StudyHistory]) -> Table:
    table = Table("study", "images", "state", "what happened", box=None, pad_edge=False)
    for history in histories:
        job = history.revisions[0].job
        done = " → ".join(
            moment.event for moment in history.revisions[0].moments if moment.event != "claimed"
        )
        modality = ", ".join(sorted({str(r.header.get("Modality", "?")) for r in history.received}))
        table.add_row(Text(f"{modality} …{job.study_instance_uid[-12:]}"), str(job.images), job.state, done)
    return table


def _show(console: Console, history: StudyHistory, audit: Audit, config: Config, out: Path) -> None:
    revision = history.revisions[0]
    console.rule(f"Study {history.study_instance_uid}")
    if revision.job.state != State.DELIVERED:
        console.print(
            f"{revision.job.state}: {revision.job.reason}", markup=False, highlight=False, soft_wrap=True
        )
        return
    for report in revision.reports:
        if report.kind == "narrative":
            console.print(
                as_text(audit.report(report.sop_instance_uid)), markup=False, highlight=False, soft_wrap=True
            )
    picture = out / f"draft-{UID(history.study_instance_uid)[-12:]}.png"
    picture.write_bytes(_sheet(history, revision, config))
    console.print(f"Picture with findings: {picture}", markup=False, soft_wrap=True)
    for delivery in revision.deliveries:
        words = ObjectKind(delivery.kind).words.capitalize()
        console.print(f"{words}: {delivery.status}", markup=False, soft_wrap=True)
    console.print(
        f"Everything about it: gsco-pacs --config {out / 'config.yaml'} study {history.study_instance_uid}",
        soft_wrap=True,
    )


def _sheet(history: StudyHistory, revision: Revision, config: Config) -> bytes:
    consultation, drafted = revision.products[Stage.CONSULT], revision.products[Stage.DRAFT]
    read = next(r for r in history.received if r.sop_instance_uid == consultation["read"][0])
    instance = Instance(
        history.study_instance_uid, read.series_instance_uid, read.sop_instance_uid, read.sop_class_uid,
        read.transfer_syntax_uid, "", read.size, read.path,
    )  # fmt: skip
    (picture,) = prepare([StoredFile(instance, store_dir(config) / read.path)], _ANY_IMAGE).pictures
    opinions = sorted(consultation["opinions"], key=lambda each: -each["probability"])
    bars = [
        Bar(f"{o['specialist']}: {o['finding']['text']}", o["probability"], o["absent_below"])
        for o in opinions
    ]
    draft = drafted["draft"]
    sentences = ["FINDINGS", *(each["text"] for each in draft["findings"]), ""]
    sentences += ["IMPRESSION", *(each["text"] for each in draft["impression"])]
    return sheet(
        png(picture.pixels, 900),
        "AI DRAFT - NOT VERIFIED",
        "possible from the mark on",
        bars,
        sentences,
    )
