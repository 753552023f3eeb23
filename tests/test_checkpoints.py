"""A checkpoint is numbers and settings: what it brings of its own code is never run, nor is leave asked to run it."""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING
from typer.testing import CliRunner

from gsco_pacs import cli
from gsco_pacs.adapters.checkpoints import read_config
from gsco_pacs.adapters.transformers_generalist import TransformersGeneralist, plan_checkpoint
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.evaluation.bert_score import BertScore
from gsco_pacs.evaluation.green import Green
from tests.meddr_material import write_published
from tests.tiny_checkpoints import FAMILIES, build

PROJECT = Path(__file__).parents[1]
FOREIGN = "foreign"
CLASSES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoProcessor")
AUTO_MAP = dict.fromkeys(CLASSES, f"{FOREIGN}.Foreign")
CONSENT = "y\n" * 20


def bring_code(folder: Path) -> Path:
    """Put a module into ``folder`` that leaves a mark beside it when it is run; the mark."""
    mark = folder.with_name("was-run")
    (folder / f"{FOREIGN}.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Foreign: pass\n"
    )
    return mark


def change(file: Path, **changes: Any) -> None:
    """``file`` (JSON) with other settings."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_published_meddr_is_not_run_whatever_is_answered_but_told_how_to_be_converted(
    tmp_path: Path,
) -> None:
    write_published(tmp_path / "meddr", auto_map=AUTO_MAP)
    mark = bring_code(tmp_path / "meddr")
    told = CliRunner().invoke(cli.app, ["models", "memory", str(tmp_path / "meddr")], input=CONSENT)
    assert isinstance(told.exception, ConfigError)
    assert "models convert-meddr" in str(told.exception)
    assert "[y/N]" not in told.output
    with pytest.raises(ConfigError, match="models convert-meddr"):
        TransformersGeneralist(tmp_path / "meddr").identity  # noqa: B018 - asked for the error
    assert not mark.exists()


@pytest.mark.parametrize("model_type", ["never_heard_of", "clip"])
def test_a_model_that_transformers_does_not_know_is_refused_with_the_code_it_brings(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = build(FAMILIES["llava"], tmp_path / "checkpoint")
    change(checkpoint / "config.json", model_type=model_type, auto_map=AUTO_MAP)
    mark = bring_code(checkpoint)
    monkeypatch.setattr("sys.stdin", consenting(tmp_path))
    with pytest.raises(ConfigError, match=f"{model_type!r}.*never run"):
        read_config(checkpoint)
    assert not mark.exists()


def consenting(folder: Path) -> Any:
    """A terminal at which somebody says yes to everything."""
    (folder / "yes").write_text(CONSENT)
    return (folder / "yes").open()


def test_a_known_model_gets_no_code_run_that_one_of_its_parts_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers makes the parts itself, and passes no refusal on to them."""
    checkpoint = build(FAMILIES["llava"], tmp_path / "checkpoint")
    eye = {"model_type": "blip_vision_model", "auto_map": {"AutoModel": f"{checkpoint}--{FOREIGN}.Foreign"}}
    change(checkpoint / "config.json", vision_config=eye)
    mark = bring_code(checkpoint)
    monkeypatch.setattr("sys.stdin", consenting(tmp_path))
    with pytest.raises(ConfigError, match="custom code"):
        plan_checkpoint(checkpoint)
    assert not mark.exists()


@pytest.mark.parametrize("measure", [BertScore, Green])
def test_a_measure_of_reports_runs_no_code_of_its_checkpoint(
    measure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "published").mkdir()
    settings = {"model_type": "never_heard_of", "auto_map": AUTO_MAP}
    (tmp_path / "published" / "config.json").write_text(json.dumps(settings))
    mark = bring_code(tmp_path / "published")
    monkeypatch.setattr("sys.stdin", consenting(tmp_path))
    with pytest.raises(ConfigError, match="is not"):
        measure(tmp_path / "published")
    assert not mark.exists()


def loaders(source: str) -> list[ast.Call]:
    """The calls in ``source`` by which a class of transformers' choice is loaded or made."""
    if not re.search(r"from_(pretrained|config)\(", source):
        return []
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("from_pretrained", "from_config")
        and ast.unparse(call.func.value).startswith(("Auto", "kind_of("))
    ]


def refuses(call: ast.Call) -> bool:
    given = [ast.unparse(keyword) for keyword in call.keywords]
    return "**NUMBERS_ONLY" in given or "trust_remote_code=False" in given


def test_every_loader_of_transformers_is_told_to_run_no_foreign_code() -> None:
    assert not refuses(loaders("AutoModel.from_pretrained(path, dtype=None)")[0])
    found = {str(path): loaders(path.read_text()) for path in (PROJECT / "gsco_pacs").rglob("*.py")}
    assert sum(map(len, found.values())) > 15
    asking = [f"{path}:{call.lineno}" for path, calls in found.items() for call in calls if not refuses(call)]
    assert not asking


def test_the_memory_of_our_own_model_is_planned_though_nothing_made_it_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = build(FAMILIES["gsco_small"], tmp_path / "small")
    monkeypatch.delitem(sys.modules, "gsco_pacs.adapters.small_generalist")
    monkeypatch.delitem(CONFIG_MAPPING._extra_content, "gsco_small")
    told = CliRunner().invoke(cli.app, ["models", "memory", str(checkpoint)])
    assert told.exception is None
    assert "projector" in told.output
