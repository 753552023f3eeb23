"""Chooses what an evaluation needs: data sets by name, the bundles that know them, a generalist of config.yaml."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from gsco_pacs.adapters.bundle_format import METADATA, read_metadata, segments
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.progress_bar import progress_bar
from gsco_pacs.config import Config, shipped
from gsco_pacs.datasets.cases import EvaluationCase, Split, Task
from gsco_pacs.datasets.registry import data_set
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Mode
from gsco_pacs.evaluation.injection import reactions, sample, table
from gsco_pacs.evaluation.records import Generalist, RunFolder, Variant
from gsco_pacs.evaluation.running import Chosen, Plan, must_be_the_same, run
from gsco_pacs.evaluation.vocabulary import must_understand, option_of
from gsco_pacs.ports import Specialist
from gsco_pacs.processes.choices import open_generalist
from gsco_pacs.settings.generalists import OpenAIGeneralist, StructuredGeneralist


@dataclass(frozen=True)
class Request:
    """What is asked for at the command line."""

    out: Path
    datasets: tuple[str, ...]
    """NAME=PATH, or a module of ``manifest``."""
    manifest: Path | None
    split: Split
    generalist: str
    bundles: tuple[Path, ...] = ()
    """Directories of bundles; those of the configuration and the shipped ones if there is none."""
    specialists: tuple[str, ...] = ()
    """NAME=BUNDLE for a data set that no bundle names as its own."""
    per_task: int = 0
    jobs: int = 1


def request(
    out: Path,
    datasets: Sequence[str],
    manifest: Path | None,
    split: Split,
    generalist: str,
    bundles: Sequence[Path] | None,
    specialists: Sequence[str] | None,
    per_task: int,
    jobs: int,
) -> Request:
    """The options of a command as a request."""
    given = tuple(bundles or ()), tuple(specialists or ())
    return Request(out, tuple(datasets), manifest, split, generalist, *given, per_task, jobs)


def modes(config: Config, generalist: str) -> tuple[Mode, ...]:
    """Who works together if nobody says: every mode, or the specialists alone where no language model is named."""
    return tuple(Mode) if _has_words(config, generalist) else (Mode.SPECIALISTS,)


def evaluate(config: Config, request: Request, variants: tuple[Variant, ...]) -> RunFolder:
    """The folder with everything that was asked for; what was there already is not done again."""
    folder = RunFolder(request.out)
    chosen = tuple(_chosen(config, request))
    asking = [variant for variant in variants if variant.mode is not Mode.SPECIALISTS]
    if not _has_words(config, request.generalist):
        _must_need_no_words(chosen, asking, request.generalist)
    if asking:
        _record_generalist(config, request, folder)
    plan = Plan(
        chosen=chosen,
        variants=variants,
        open_generalist=partial(open_generalist, request.generalist, config),
        per_task=request.per_task,
        jobs=request.jobs,
    )
    with progress_bar("evaluating", Console(stderr=True)) as progress:
        run(plan, folder, progress)
    return folder


def _has_words(config: Config, generalist: str) -> bool:
    return not isinstance(config.generalists.get(generalist), StructuredGeneralist)


def _must_need_no_words(chosen: Sequence[Chosen], asking: Sequence[Variant], generalist: str) -> None:
    """ConfigError if a generalist without a language model would have to answer; it does word reports."""
    for case in (one.cases[0] for one in chosen):
        if case.task is Task.QUESTION or (case.task is Task.DIAGNOSIS and asking):
            alone = ", or measure the specialists alone with --mode specialists" * (
                case.task is Task.DIAGNOSIS
            )
            raise ConfigError(
                f"{case.dataset}: the generalist {generalist!r} is no language model and cannot answer a {case.task}. "
                f"Name another one with --generalist{alone}."
            )


def _record_generalist(config: Config, request: Request, folder: RunFolder) -> None:
    identity = open_generalist(request.generalist, config).identity
    if not must_be_the_same(folder, identity.name, identity.sha256):
        size = _parameters(request.generalist, config)
        folder.generalists.add(Generalist(identity.name, identity.version, identity.sha256, size))


def measure_injection(config: Config, request: Request) -> str:
    """What orders written into the images of each data set do, as a table in Markdown for each."""
    generalist = open_generalist(request.generalist, config)
    tables = []
    for chosen in _chosen(config, request):
        cases = sample(chosen.cases, chosen.split, request.per_task or len(chosen.cases))
        with progress_bar(cases[0].dataset, Console(stderr=True)) as progress:
            specialists = chosen.open_specialists()
            found = reactions(cases, chosen.split, specialists, generalist, progress)
        nothing = [finding.label for one in specialists for finding in one.findings if finding.normal]
        normal = {option_of(label, cases[0].options) or label for label in nothing} | {cases[0].normal}
        tables.append(f"### {cases[0].dataset}\n\n{table(found, frozenset(normal))}")
    return "\n\n".join(tables)


def _chosen(config: Config, request: Request) -> Iterator[Chosen]:
    for given in request.datasets:
        name, path = _named(given, request.manifest)
        bundles = _bundles_for(name, config, request)
        cases: tuple[EvaluationCase, ...] = tuple(data_set(name).read(path, request.split))
        for bundle in bundles if cases[0].task is Task.DIAGNOSIS else ():
            if line := must_understand(bundle.name, _labels(bundle), cases[0]):
                Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)
        yield Chosen(request.split, cases, partial(open_bundles, bundles))


def _named(given: str, manifest: Path | None) -> tuple[str, Path]:
    """The data set's name and path; a bare word is a module of the manifest."""
    name, _, path = given.partition("=")
    if path:
        return name, Path(path)
    if manifest is None:
        raise ConfigError(f"{given!r} needs a path ({given}=PATH), or --manifest if it is a module of one.")
    return f"manifest/{name}", manifest


def open_bundles(paths: Sequence[Path]) -> tuple[Specialist, ...]:
    """Every member of the bundles in the directories ``paths``, loaded and verified."""
    return tuple(member for path in paths for member in load_bundle(path))


def _bundles_for(name: str, config: Config, request: Request) -> tuple[Path, ...]:
    """The bundles that were named for the data set, else those that name its module as their own."""
    known = {path.name: path for path in _all_bundles(config, request.bundles)}
    pairs = [pair.partition("=") for pair in request.specialists]
    wanted = [bundle for given, _, bundle in pairs if given in (name, name.removeprefix("manifest/"))]
    missing = [bundle for bundle in wanted if bundle not in known]
    if missing:
        raise ConfigError(f"There is no bundle {missing[0]!r}; there are {', '.join(sorted(known))}.")
    if wanted:
        return tuple(known[bundle] for bundle in wanted)
    module = name.removeprefix("manifest/")
    return tuple(path for path in known.values() if _module(path) == module)


def _all_bundles(config: Config, given: Sequence[Path]) -> Iterator[Path]:
    folders = given or [shipped("models"), *map(config.absolute, reversed(config.models))]
    for folder in folders:
        for path in sorted(folder.iterdir() if folder.is_dir() else ()):
            described = (path / METADATA).is_file() and "gsco" in json.loads((path / METADATA).read_bytes())
            if described and not segments(path):
                yield path


def _labels(bundle: Path) -> tuple[str, ...]:
    return tuple(entry.label for entry in read_metadata((bundle / METADATA).read_bytes())[1].labels)


def _module(bundle: Path) -> str:
    return read_metadata((bundle / METADATA).read_bytes())[1].module


def _parameters(name: str, config: Config) -> int:
    """Number of weights of a checkpoint on this machine, read from the heads of its files; 0 if there is none."""
    settings = config.generalists[name]
    if isinstance(settings, StructuredGeneralist | OpenAIGeneralist):
        return 0
    from safetensors import safe_open

    total = 0
    for file in sorted(config.absolute(settings.path).glob("*.safetensors")):
        with safe_open(file, "numpy") as weights:
            for key in weights.keys():  # noqa: SIM118 - not a mapping
                size = 1
                for side in weights.get_slice(key).get_shape():
                    size *= side
                total += size
    return total
