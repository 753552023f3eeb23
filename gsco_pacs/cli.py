"""The commands that run and watch the node: each parses its words, makes one call and prints the answer."""

import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gsco_pacs import __version__
from gsco_pacs.cli_evaluate import bench, evaluate
from gsco_pacs.cli_models import models, train
from gsco_pacs.cli_network import network
from gsco_pacs.config import Config, find_config, load_config
from gsco_pacs.domain.errors import GscoError
from gsco_pacs.domain.job import Stage, State

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A DICOM node that files a draft report in the study, with the reasons in it.",
)
app.add_typer(train, name="train")
app.add_typer(models, name="models")
app.add_typer(evaluate, name="evaluate")
app.add_typer(bench, name="bench")
app.add_typer(network)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
StudyUid = Annotated[str, typer.Argument(help="Study Instance UID.")]


def main() -> None:
    """Run a command; a foreseen error is one sentence on standard error and exit code 1."""
    try:
        app()
    except GscoError as error:
        Console(stderr=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _before(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; else $GSCO_PACS_CONFIG, else ./config.yaml.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    context.obj = find_config(config)


def _config(context: typer.Context) -> Config:
    return load_config(context.obj)


@app.command()
def node(
    context: typer.Context,
    web: Annotated[bool, typer.Option(help="Also serve the administrator's pages.")] = False,
) -> None:
    """Run receiver, housekeeper and workers on this machine until SIGTERM."""
    from gsco_pacs.processes.node import run_node

    run_node(_config(context), context.obj.absolute(), web=web)


@app.command()
def receiver(context: typer.Context) -> None:
    """Run the Storage and Verification SCP."""
    from gsco_pacs.processes.receiver import run_receiver

    run_receiver(_config(context), context.obj)


@app.command()
def housekeeper(context: typer.Context) -> None:
    """Close quiet studies and bring back due, lost and unwoken jobs."""
    from gsco_pacs.processes.housekeeper import run_housekeeper

    run_housekeeper(_config(context))


@app.command()
def worker(
    context: typer.Context,
    stage: Stage,
    stat: Annotated[
        bool, typer.Option("--stat", help="Take STAT studies only; list the stage in workers.stat_lanes.")
    ] = False,
) -> None:
    """Work on one stage: consult, draft or deliver."""
    from gsco_pacs.processes.worker import run_worker

    run_worker(_config(context), stage, only_stat=stat)


@app.command()
def web(context: typer.Context) -> None:
    """Serve the administrator's pages."""
    from gsco_pacs.processes.web import run_web

    run_web(_config(context))


@app.command()
def migrate(context: typer.Context) -> None:
    """Bring the database to this version's schema."""
    from gsco_pacs.adapters.database import migrate as bring_up

    bring_up(_config(context).database_url)
    print("The database is up to date.")


@app.command()
def check(context: typer.Context) -> None:
    """Check the configuration, bundles and certificates included, and say what it would do."""
    from gsco_pacs.processes.checking import check as look_through

    print(*look_through(_config(context)), sep="\n")


@app.command()
def status(context: typer.Context, as_json: Json = False) -> None:
    """How many jobs are in each state, and what was fetched and refused lately."""
    from gsco_pacs.processes.commands import open_audit
    from gsco_pacs.terminal import backlog_line, fetch_line

    audit = open_audit(_config(context))
    counts, refusals, fetches = audit.counts(), audit.refusals(10), audit.fetches(10)
    backlog, limit = audit.backlog(), _config(context).workers.backlog_warning
    if as_json:
        recent = {"refusals": list(map(asdict, refusals)), "fetches": list(map(asdict, fetches))}
        _print_json({"jobs": counts, "backlog": asdict(backlog), **recent})
        return
    for state in State:
        print(f"{state:11} {counts.get(state, 0)}")
    print(f"backlog     {backlog_line(backlog, limit)}")
    for fetch in fetches:
        print(f"{fetch.study_instance_uid} {fetch_line(fetch)}")
    for refusal in refusals:
        word = "noted" if refusal.what in ("variant", "moved") else "refused"
        print(
            f"{word} {refusal.at.astimezone():%Y-%m-%d %H:%M:%S} {refusal.calling_ae or 'somebody'} at {refusal.address} "
            f"({refusal.times} ×): {refusal.reason}"
        )


@app.command()
def jobs(
    context: typer.Context,
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    search: Annotated[str, typer.Option(help="Part of a study UID, patient ID or accession number.")] = "",
    limit: Annotated[int, typer.Option(help="How many.")] = 50,
    offset: Annotated[int, typer.Option(help="After how many.")] = 0,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    from gsco_pacs.processes.commands import open_audit
    from gsco_pacs.terminal import print_jobs

    lines, count = open_audit(_config(context)).jobs(
        state=state or "", search=search, limit=limit, offset=offset
    )
    if as_json:
        _print_json({"count": count, "jobs": [asdict(line) for line in lines]})
    else:
        print_jobs(Console(), lines, count)


@app.command()
def study(context: typer.Context, uid: StudyUid, as_json: Json = False) -> None:
    """Tell what happened to a study, and why."""
    from gsco_pacs.processes.commands import open_audit
    from gsco_pacs.terminal import print_study

    history = open_audit(_config(context)).study(uid)
    if as_json:
        _print_json(asdict(history))
    else:
        print_study(Console(), history)


@app.command()
def ask(
    context: typer.Context,
    uid: StudyUid,
    question: Annotated[str, typer.Argument(help="A line of text, at most 500 characters.")],
    file: Annotated[
        bool,
        typer.Option("--file", help="Also file question and answer as an SR at the route's destinations."),
    ] = False,
    wait: Annotated[float, typer.Option(help="Longest wait for the answer, in seconds.")] = 600,
    as_json: Json = False,
) -> None:
    """Ask the generalist about a study that was consulted; a running draft worker answers."""
    from gsco_pacs.processes.question_door import open_door
    from gsco_pacs.terminal import print_question

    door = open_door(_config(context))
    asked = door.ask(uid, question, getpass.getuser(), to_be_filed=file)
    answered = door.ended(asked.number, wait)
    if as_json:
        _print_json(asdict(answered))
    else:
        print_question(Console(), answered)
    if answered.state in ("waiting", "working", "failed"):
        raise typer.Exit(1)


@app.command()
def file_answer(
    context: typer.Context, number: Annotated[int, typer.Argument(help="The question's number.")]
) -> None:
    """File an answered question as an SR at the destinations of the study's route."""
    from gsco_pacs.processes.question_door import open_door

    print(f"Question {open_door(_config(context)).file(number).number} will be filed.")


@app.command()
def report(
    context: typer.Context, uid: Annotated[str, typer.Argument(help="SOP Instance UID of an SR.")]
) -> None:
    """Print a stored SR as text."""
    from gsco_pacs.processes.commands import open_audit
    from gsco_pacs.sr.reading import as_text

    print(as_text(open_audit(_config(context)).report(uid)))


@app.command()
def retry(context: typer.Context, uid: StudyUid) -> None:
    """Try a study again: a failed job at the stage that failed, a waiting one at once, a skipped one from its routing on."""
    from gsco_pacs.processes.commands import open_upkeep

    print(open_upkeep(_config(context)).requeue(uid, getpass.getuser()))


@app.command()
def cancel(context: typer.Context, uid: StudyUid) -> None:
    """Cancel every unfinished job of a study."""
    from gsco_pacs.processes.commands import open_upkeep

    print(open_upkeep(_config(context)).cancel(uid, getpass.getuser()))


@app.command()
def demo(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Your own DICOM; without it a synthetic study.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the node's state, the reports and the picture go.")] = Path(
        "demo-out"
    ),
) -> None:
    """Bring a node up, send a study to it over DICOM and show the draft."""
    from gsco_pacs.processes.demo import run_demo
    from gsco_pacs.testing.samples import write_samples

    if not run_demo(paths or write_samples(out / "samples"), out):
        raise typer.Exit(1)


@app.command()
def install_small_llm(context: typer.Context) -> None:
    """Convert the packaged SmolLM2 once into the state directory and print the lines that switch it on."""
    from gsco_pacs.adapters.small_llm import install_small_llm

    path = install_small_llm(_config(context).state_dir)
    print(f"generalists:\n  small: {{kind: transformers, path: {path}}}")


def _print_json(value: object) -> None:
    print(json.dumps(value, default=str, indent=2, ensure_ascii=False))
