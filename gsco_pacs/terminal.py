"""The record in words, for a terminal: a table of jobs, and the whole history of a study."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gsco_pacs.domain.correction import summed_up
from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.domain.job import Stage, State
from gsco_pacs.domain.question import CAUTION

if TYPE_CHECKING:
    from gsco_pacs.adapters.audit import Backlog, JobLine, Revision, StudyHistory
    from gsco_pacs.adapters.question_ledger import Question
    from gsco_pacs.domain.fetch import Fetch

_COLOUR = {
    State.DELIVERED: "green",
    State.FAILED: "red",
    State.SKIPPED: "yellow",
    State.CANCELLED: "bright_black",
}


def print_jobs(console: Console, jobs: "Sequence[JobLine]", count: int) -> None:
    """Three lines for each job: when and where it stands, the whole UID to copy, and why."""
    for job in jobs:
        doing = f"{job.state} ({job.stage})" if job.state in ("queued", "running", "waiting") else job.state
        images = f"{job.images} image{'s' if job.images != 1 else ''}"
        head = Text.assemble(
            (doing, f"bold {_COLOUR.get(State(job.state), 'cyan')}"),
            f"  {_time(job.first_received_at)}  {images}, revision {job.revision}  {job.route}",
        )
        console.print(
            head, Text(f"  {job.study_instance_uid}"), Text(f"  {job.reason}"), sep="\n", soft_wrap=True
        )
    console.print(Text(f"{len(jobs)} of {count} jobs", "bright_black"))


def print_study(console: Console, history: "StudyHistory") -> None:
    """Everything that is known of a study, newest revision first."""
    console.print(f"[bold]Study {history.study_instance_uid}[/bold]", highlight=False)
    console.print(
        f"Patient {history.patient_id or 'without ID'}, accession {history.accession_number or 'none'}, "
        f"objects received: {len(history.received)}",
        highlight=False,
        markup=False,
    )
    for line in summed_up((each.kind, each.changes) for each in history.received):
        console.print(Text(line), soft_wrap=True)
    for fetch in history.fetches:
        console.print(Text(fetch_line(fetch)), soft_wrap=True)
    for revision in history.revisions:
        console.print(_head(revision), _timeline(revision))
        for line in _story(revision):
            console.print(Text(line), soft_wrap=True)
    for question in history.questions:
        print_question(console, question)


def backlog_line(backlog: "Backlog", limit: int) -> str:
    """How much waits for the workers and for how long; a warning above ``limit``."""
    if backlog.oldest_since is None:
        return "nothing is queued or waiting"
    line = f"{backlog.jobs} queued or waiting, the oldest since {_time(backlog.oldest_since)}"
    return f"WARNING: {line}: more than workers.backlog_warning ({limit})" if backlog.jobs > limit else line


def fetch_line(fetch: "Fetch") -> str:
    """Who wanted a study from where, and what came of it."""
    counts = f"{fetch.here} of {fetch.listed} objects here"
    if fetch.not_taken:
        counts += f", {fetch.not_taken} not taken"
    because = f": {fetch.reason}" if fetch.reason else ""
    return f"fetched {_time(fetch.asked_at)} from {fetch.archive} by {fetch.asked_by}: {fetch.state}, {counts}{because}"


def print_question(console: Console, question: "Question") -> None:
    """A question, its answer, whose it is, and what the specialists hold against it."""
    for line in _question(question):
        console.print(Text(line), soft_wrap=True)


def _question(question: "Question") -> Iterator[str]:
    yield f"\nQuestion {question.number} by {question.asked_by} at {_time(question.asked_at)}: {question.question}"
    because = f" ({question.reason})" if question.reason else ""
    yield f"  {question.state}{because}"
    if question.reply and question.replied_at:
        reply = question.reply
        yield f"  {reply.text or '(nothing said)'}"
        yield f"  {CAUTION}"
        yield from (f"  contradiction: {sentence}" for sentence in reply.contradictions)
        seen = "image seen" if reply.image_seen else "image not seen"
        cut = "" if reply.finished else ", cut at its length limit"
        yield (
            f"  {reply.model.name} {reply.model.version} ({reply.model.sha256[:12] or 'weights unknown'}), {seen}{cut}; "
            f"{reply.template}; {question.seconds:.1f} s at {_time(question.replied_at)} by {question.worker}"
        )
    for receipt in question.receipts:
        yield f"  filed as {question.sop_instance_uid} at {receipt.destination}: {receipt.status}"


def _head(revision: "Revision") -> Text:
    job = revision.job
    state = (job.state, f"bold {_COLOUR.get(State(job.state), 'cyan')}")
    return Text.assemble(f"\nRevision {job.revision}: ", state, f"  {job.reason}")


def _timeline(revision: "Revision") -> Table:
    table = Table("time", "event", "stage", "by", "why", box=None, pad_edge=False)
    for moment in revision.moments:
        table.add_row(_time(moment.at), moment.event, moment.stage, Text(moment.actor), Text(moment.reason))
        for line in moment.detail.get("evidence", ()):
            table.add_row("", "", "", "", Text(line, "bright_black"))
        for trial in moment.detail.get("trials", ()):
            words = "matched" if trial["matched"] else trial["reason"]
            table.add_row("", "", "", "", Text(f"route {trial['route']}: {words}", "bright_black"))
    return table


def _story(revision: "Revision") -> Iterator[str]:
    for search in revision.priors:
        until = f", awaited until {_time(search.deadline_at)}" if not search.ended_at else ""
        yield f"Priors from {search.archive}: {search.state}{until}. {search.reason}"
    consultation = revision.products.get(Stage.CONSULT)
    if consultation:
        yield from _consultation(consultation)
    drafted = revision.products.get(Stage.DRAFT)
    if drafted:
        yield from _draft(drafted)
    for attempt in revision.attempts:
        if attempt.error:
            yield f"Attempt {attempt.number} at {attempt.stage} ({attempt.worker}): {attempt.error}"
    for report in revision.reports:
        yield f"{ObjectKind(report.kind).words.capitalize()}: {report.sop_instance_uid} ({report.sha256[:12]}…)"
    for delivery in revision.deliveries:
        yield f"Delivered {delivery.kind} to {delivery.destination} at {_time(delivery.taken_at)}: {delivery.status}"
    for one in revision.confirmations:
        because = f" ({one.reason})" if one.reason else ""
        yield f"{ObjectKind(one.kind).words.capitalize()} at {one.destination}, request {one.number}: {one.words}{because}"


def _consultation(consultation: dict[str, Any]) -> Iterator[str]:
    if consultation["opinions"]:
        yield "\nOpinions"
    for opinion in sorted(consultation["opinions"], key=lambda each: -each["probability"]):
        bar = "█" * round(opinion["probability"] * 20)
        thresholds = f"absent below {opinion['absent_below']:.2f}, present from {opinion['present_from']:.2f}"
        yield f"  {opinion['finding']['text']:32} {opinion['probability']:5.2f} {bar:20} {thresholds} ({opinion['specialist']})"
    if consultation["cases"]:
        yield "Similar cases"
    for case in consultation["cases"]:
        yield f"  {case['key']:24} {case['similarity']:5.2f}  {', '.join(case['labels'])}"
    for near in consultation.get("familiarity", ()):
        limit = "" if near["familiar_from"] is None else f", familiar from {near['familiar_from']:.2f}"
        yield f"Nearness to the reference cases of {near['specialist']}: {near['similarity']:.2f}{limit}"
    reasons = Counter(exclusion["reason"] for exclusion in consultation["exclusions"])
    for reason, count in reasons.items():
        yield f"Not read ({count}): {reason}"


def _draft(drafted: dict[str, Any]) -> Iterator[str]:
    briefing, draft = drafted["briefing"], drafted["draft"]
    if referral := draft.get("referral"):
        asked = "asked" if referral["made"] else "not asked"
        yield f"\nThe generalist was {asked}: {'; '.join(referral['reasons'])}"
    if briefing["prompt"]:
        yield f"\nPrompt ({briefing['template']}, mode {briefing['mode']})"
    yield from (f"  {line}" for line in briefing["prompt"].splitlines())
    for aside in drafted.get("also", ()):
        named = ", ".join(aside["named"]) or "nothing that could be used"
        yield f"\nAlso asked in mode {aside['briefing']['mode']} ({aside['seconds']:.1f} s): {named}"
        yield from (f"  answer: {answer['text']}" for answer in aside["answers"])
    yield f"\nDraft (wording: {draft['wording']}, generalist: {draft['generalist']['name']})"
    yield from (f"  {statement['text']}" for statement in [*draft["findings"], *draft["impression"]])
    yield from (f"  disagreement: {sentence}" for sentence in draft["disagreements"])
    yield from (f"  objection: {each['sentence']} ({each['reason']})" for each in draft["objections"])


def _time(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
