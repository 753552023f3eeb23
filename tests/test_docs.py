"""The documents say what the code does; one that falls behind fails here."""

import re
from pathlib import Path

import pytest
import yaml

from gsco_pacs.config import load_config
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


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", (PROJECT / "SECURITY.md").read_text())
    assert len(named) > 40
    assert [name for file, name in named if f"def {name}(" not in (PROJECT / file).read_text()] == []


BLOCKS = re.findall(r"```yaml\n(.*?)```", (DOCS / "generalist_models.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_of_the_page_of_generalist_models_is_a_configuration(block: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block)
    loaded = load_config(tmp_path / "config.yaml").generalists
    assert list(loaded) == list(yaml.safe_load(block)["generalists"])


def test_each_served_model_is_asked_by_its_line_of_configuration_as_it_is_served() -> None:
    page = (DOCS / "generalist_models.md").read_text()
    blocks = [yaml.safe_load(block)["generalists"] for block in BLOCKS]
    local = {name: line["path"] for block in blocks for name, line in block.items() if "path" in line}
    asked = {name: line for block in blocks for name, line in block.items() if line["kind"] == "openai"}
    served = re.findall(r"vllm serve (\S+) --served-model-name (\S+) --port (\d+)(.*)", page)
    assert [name for _, name, _, _ in served] == list(asked)
    for path, name, port, options in served:
        key = re.search(r'--api-key "\$(\w+)"', options)
        assert path == local[name]
        assert asked[name]["base_url"].endswith(f":{port}/v1")
        assert asked[name]["model"] == name
        assert asked[name].get("api_key_env") == (key and key[1])
