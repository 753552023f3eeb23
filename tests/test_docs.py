"""The documents say what the code does; one that falls behind fails here."""

import re
from pathlib import Path

import pytest

from gsco_pacs.domain import errors
from gsco_pacs.domain.errors import GscoError
from gsco_pacs.domain.job import State
from tests.generated_docs import DOCS, PAGES

PROJECT = DOCS.parent
PAGES_OF_THE_PROJECT = sorted(
    [*PROJECT.glob("*.md"), *DOCS.rglob("*.md"), *(PROJECT / "models").rglob("*.md")]
)


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_up_to_date(page: str) -> None:
    assert (DOCS / page).read_text() == PAGES[page](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES_OF_THE_PROJECT, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES_OF_THE_PROJECT, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    known = (DOCS / "commands.md").read_text()
    named = re.findall(r"(?<![\w-])gsco-pacs (?:--config \S+ )?([a-z]+(?: [a-z]+)?)", page.read_text())
    for words in named:
        first = words.split()[0]
        assert f"`{first}" in known or f"`{words}" in known or first in ("train", "evaluate", "bench"), words


def test_the_walk_names_every_step_and_every_state_is_explained() -> None:
    walk = (DOCS / "walk.md").read_text()
    steps = [path.stem for path in (PROJECT / "gsco_pacs" / "steps").glob("*.py") if path.stem != "__init__"]
    assert [step for step in steps if f"`{step}" not in walk] == []
    assert [state for state in State if f"**{state}**" not in walk] == []


def test_every_error_stands_in_the_tree_at_the_head_of_its_file() -> None:
    def below(kind: type[GscoError]) -> set[str]:
        return {kind.__name__}.union(
            *(below(child) for child in kind.__subclasses__() if child.__module__ == errors.__name__)
        )

    assert [name for name in below(GscoError) if name not in (errors.__doc__ or "")] == []
