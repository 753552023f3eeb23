"""The pages that are made from the code: ``make docs`` writes them, tests/test_docs.py compares them."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gsco_pacs import cli
from gsco_pacs.conditions import All, AnyOf, Match, Not, OneImage, Settings
from gsco_pacs.config import Config, load_config, shipped
from gsco_pacs.datasets.registry import as_markdown
from gsco_pacs.domain.job import ACTIVE, MOVES, SETTLED, Stage, State
from gsco_pacs.processes.commands import state_conformance
from gsco_pacs.settings.archives import DicomwebArchive, DimseArchive
from gsco_pacs.settings.audit import Syslog
from gsco_pacs.settings.destinations import (
    Confirmation,
    DicomwebDestination,
    DimseDestination,
    FolderDestination,
)
from gsco_pacs.settings.dicomweb import Dicomweb, HttpsTls, WebSender
from gsco_pacs.settings.generalists import OpenAIGeneralist, StructuredGeneralist, TransformersGeneralist
from gsco_pacs.settings.priors import PriorRule
from gsco_pacs.settings.receiver import CallBack, Limits, Sender, User
from gsco_pacs.settings.routes import GateSettings, RouteSettings
from gsco_pacs.settings.settle import Expectation
from gsco_pacs.settings.tls import ClientTls, ServerTls

DOCS = Path(__file__).parents[1] / "docs"
CONDITIONS = (All, AnyOf, Match, Not, OneImage)
MADE = "<!-- Made from the code by `make docs`; change the code, not this page. -->\n"


def states() -> str:
    """The state machine as a drawing and a table."""
    drawn = [
        f"    {before} --> {after}: {event}" for (before, event), after in MOVES.items() if before != after
    ]
    stays = [f"{event} keeps a job {before}" for (before, event), after in MOVES.items() if before == after]
    return "\n".join(
        [
            "# The states of a job", MADE,
            "A job is one revision of a study on its way. "
            f"Active: {_list(ACTIVE)}. Settled: {_list(SETTLED)}. "
            f"The stages ({_list(Stage)}) are a column, not states: a finished stage queues the next one. "
            f"{'; '.join(stays)}. Every other pair of state and event is refused.", "",
            "```mermaid", "stateDiagram-v2", f"    [*] --> {State.COLLECTING}", *drawn,
            *(f"    {state} --> [*]" for state in State if state in SETTLED), "```", "",
        ]
    )  # fmt: skip


def _list(values: Any) -> str:
    return ", ".join(value for value in State if value in values) or ", ".join(values)


def configuration() -> str:
    """Every key of config.yaml with its type, default and meaning."""
    groups: list[tuple[str, type[BaseModel]]] = [("The top level", Config)]
    groups += [
        (f"`{name}`", field.annotation)
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    ]
    groups += [
        ("One of `receiver.senders`", Sender),
        ("`call_back` of a sender", CallBack),
        ("One of `receiver.users`", User),
        ("`receiver.limits`", Limits),
        ("`receiver.tls`", ServerTls),
        ("One of `routes`", RouteSettings),
        ("`gate` of a route", GateSettings),
        ("`priors` of a route", PriorRule),
        ("One of `expects` of a route", Expectation),
        ("A condition on a tag (`when`)", Match),
        ("A generalist of kind `structured`", StructuredGeneralist),
        ("A generalist of kind `transformers`", TransformersGeneralist),
        ("A generalist of kind `openai`", OpenAIGeneralist),
        ("A destination of kind `dimse`", DimseDestination),
        ("A destination of kind `dicomweb`", DicomwebDestination),
        ("`confirm` of a destination", Confirmation),
        ("`tls` of a peer that the node calls", ClientTls),
        ("`audit.syslog`", Syslog),
        ("A destination of kind `folder`", FolderDestination),
        ("`dicomweb`", Dicomweb),
        ("One of `dicomweb.senders`", WebSender),
        ("`tls` of `dicomweb`", HttpsTls),
        ("An archive of kind `dimse`", DimseArchive),
        ("An archive of kind `dicomweb`", DicomwebArchive),
    ]
    head = [
        "# Configuration", MADE,
        "One YAML file: `--config FILE`, else `$GSCO_PACS_CONFIG`, else `./config.yaml`, else the one that comes with "
        "the package. A wrong key is answered with the nearest right one; `gsco-pacs check` checks the file.", "",
        "Conditions combine: `all: […]`, `any: […]`, `not: …`, and `one_image: …`, which binds several tests to one and "
        "the same image. A test on a tag holds if any image of the study meets it.", "",
    ]  # fmt: skip
    return "\n".join([*head, *(line for title, group in groups for line in _group(title, group))])


def _group(title: str, group: type[BaseModel]) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{(group.__doc__ or '').strip()}\n"
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in group.model_fields.items():
        if not field.exclude:
            meaning = _meaning(field).split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
            yield f"| `{field.alias or name}` | {_type(field.annotation)} | {_default(field)} | {meaning} |"
    yield ""


def _meaning(field: Any) -> str:
    if field.description:
        return str(field.description)
    if get_origin(field.annotation) is Literal:
        return "Says which of the kinds it is."
    assert issubclass(field.annotation, Settings), field  # a plain value must say what it means
    return str(field.annotation.__doc__)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    if str(annotation).startswith("typing.Literal"):
        return " or ".join(f"`{argument}`" for argument in arguments)
    if get_origin(annotation) is tuple:
        return f"list of {_type(arguments[0])}"
    if get_origin(annotation) is dict:
        return "name: settings"
    if arguments:
        kinds = dict.fromkeys(_type(argument) for argument in arguments if argument is not type(None))
        return " or ".join(kinds)
    return _word(annotation)


def _word(kind: type) -> str:
    if kind in CONDITIONS:
        return "condition"
    if issubclass(kind, BaseModel):
        return "settings"
    if issubclass(kind, StrEnum):
        return " or ".join(f"`{value}`" for value in kind)
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "Path": "path",
        "IPvAnyNetwork": "text",
    }
    return words.get(kind.__name__, kind.__name__.lower())


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return ""
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel | dict) or field.default in ((), None):
        return ""
    if isinstance(field.default, tuple):
        return ", ".join(f"`{value}`" for value in field.default)
    return f"`{field.default}`"


def commands() -> str:
    """Every command with its options, from the parser itself."""
    root = typer.main.get_command(cli.app)
    lines = ["# Commands", MADE, "`gsco-pacs COMMAND --help` says the same.", ""]
    lines += ["| command | what it does | options |", "| --- | --- | --- |"]
    lines += _commands(root, ())
    return "\n".join([*lines, ""])


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
            continue
        options = [parameter.opts[0] for parameter in command.params if parameter.opts[0].startswith("--")]
        arguments = [
            parameter.name.upper() for parameter in command.params if not parameter.opts[0].startswith("--")
        ]
        words = " ".join((*path, name, *arguments))
        yield f"| `{words}` | {(command.help or '').splitlines()[0]} | {', '.join(f'`{o}`' for o in options)} |"


def datasets() -> str:
    """Every data set that can be evaluated on."""
    return "\n".join(
        [
            "# Data sets", MADE,
            "`gsco-pacs evaluate run` reads a data set as its publisher distributes it, unpacked, from a path that you give; "
            "nothing is downloaded, and each set's licence is yours to keep. `gsco-pacs evaluate datasets` prints this table.", "",
            as_markdown(), "",
            "*In MedDr's training*: the paper's words for whether the published generalist has seen the set's training split. "
            "*Options*: the length of the closed list; *several* may be true at once. "
            "*Assumed*: what nothing that the paper published says, so the figures of such a set are ours and must not be held against the "
            "paper's without saying so: `release`, which one of several copies or versions; `task`, what counts as a case and what is asked of it; "
            "`options`, the words of the closed list or which number means which; `split`, which images are test; `prompt`, the words to the generalist "
            "alone. The prompts with opinions and similar cases are published for PCam200 alone, so they are assumed everywhere else. "
            "*Tested on*: `real data` was read here as it is; `real content put into this layout` are real images or reports that a "
            "test wrote in the publisher's layout; `its own lists, no images`: the publisher's files of labels or questions (of VQA-Med "
            "those of test) were read here once, without the images; `layout only` means that nobody has read the real set here, only a small made-up "
            "directory in the layout that the source describes.", "",
            "What the paper leaves open, and what is done here:", "",
            "- Splits. Its code reads every diagnosis set as a MedMNIST archive, of which only MedMNIST's own are to be had. Official splits are used "
            "where there are any; ours are drawn by a checksum of the patient, so they are the same everywhere. They are not the paper's.",
            "- Option lists are published for PCam200 (but not which number means tumor) and VinDr-SpineXR alone; the others are the data sets' own labels, "
            "written out. `No finding` is added where an image may have no label.",
            "- Prompts for the generalist alone are published for PCam200, VinDr-SpineXR, reports and PMC-VQA; that of PMC-VQA is "
            "used for every set of questions, and a question with choices ends with them. `evaluate run --template published` uses them word for word; where there "
            "is none, ours are used.",
            "- Questions. SLAKE and VQA-RAD say themselves which of their questions are closed (`answer_type`), and published figures are "
            "split by that; of the other sets, of questions in a manifest, and where the type is missing, those are closed that are answered by yes, no "
            "or a choice. A closed answer that is neither yes nor no must be said as a whole, which is stricter than some published scores.",
            "- CBIS-DDSM: one case a full mammogram, malignant if one of its abnormalities of this kind is. VinDr-Mammo: the BI-RADS "
            "category of the breast, one case an image. VinDr-PCXR: a disease is there if one reader says so. BRSET, FMC-Chest and FMC-Endo: every label at once. "
            "SLAKE: the English questions. OmniMedVQA: its open-access part. Derm7pt: the dermoscopic image, rare diagnoses grouped as its authors do. "
            "IU-Xray and MIMIC-CXR in R2Gen's layout: one case an image, as the paper counts (IU-Xray's 1180 images of test and their texts were compared once with the paper's own list, and are the same); from Kaggle, Open-i and PhysioNet: one case a study with "
            "all its views. The reference is always the findings, never the impression.",
            "- FMC-Colon's official lists have 42 specimens in both `train_20` and test, so similar cases must leave out a case's own "
            "specimen, which is its group here. VQA-RAD has questions about the same image in both splits. Path-VQA is read from the pickles of its authors "
            "(plain data only), not from Parquet. IU-Xray in Open-i's layout was tested with real reports of Open-i written into made-up XML, without images; nobody here "
            "has unpacked its archives.", "",
        ]
    )  # fmt: skip


def conformance() -> str:
    """The statement of a node with the configuration that comes with the package."""
    return state_conformance(load_config(shipped("config.yaml")))


PAGES = {
    "states.md": states,
    "config.md": configuration,
    "commands.md": commands,
    "datasets.md": datasets,
    "conformance.md": conformance,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (DOCS / page).write_text(make(), encoding="utf-8")
