"""What a terminal shows: peers' text is text, never markup."""

import io
from datetime import UTC, datetime

from rich.console import Console

from gsco_pacs.adapters.audit import Backlog, JobLine
from gsco_pacs.terminal import backlog_line, print_jobs


def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    reason = "BodyPartExamined is CHEST (the study has [/x], [chest])"
    job = JobLine(1, "1.2.3", "P", "A", 1, "skipped", "consult", "[red]", reason, 1, at, None, None)
    console = Console(file=io.StringIO(), width=300)
    print_jobs(console, [job], 1)
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    assert reason in shown
    assert "[red]" in shown


def test_a_backlog_is_warned_of_only_above_its_limit() -> None:
    backlog = Backlog(3, datetime(2026, 1, 1, tzinfo=UTC))
    assert backlog_line(backlog, 3).startswith("3 queued or waiting, the oldest since ")
    assert backlog_line(backlog, 2).startswith("WARNING: 3 queued")
    assert backlog_line(Backlog(0, None), 1) == "nothing is queued or waiting"
