"""Measurements that need a part of the configuration: a specialist's figures, a generalist's honesty."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gsco_pacs.adapters.bundle_format import METADATA, read_metadata, segments
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.labelled_images import Split
from gsco_pacs.adapters.progress_bar import progress_bar
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Finding
from gsco_pacs.evaluation.bench_answer import answer_speed
from gsco_pacs.evaluation.bench_answer import table as speed_table
from gsco_pacs.evaluation.familiarity import Asked, familiarity, familiarity_table
from gsco_pacs.evaluation.honesty import honesty, table
from gsco_pacs.evaluation.specialist import evaluate_specialist
from gsco_pacs.evaluation.specialist_table import as_markdown
from gsco_pacs.processes.choices import open_generalist, specialists_of


def measure_specialist(bundle: Path, manifest: Path, split: Split, reference: Path | None) -> str:
    """The specialist's tables in Markdown."""
    machine = f"{len(os.sched_getaffinity(0))}-core {platform.machine()}"
    with progress_bar("evaluating", Console(stderr=True)) as progress:
        if segments(bundle):
            from gsco_pacs.evaluation.segmentation import evaluate_segmenter, segmentation_table

            return segmentation_table(evaluate_segmenter(bundle, manifest, progress, split=split), machine)
        figures = evaluate_specialist(bundle, manifest, progress, split=split, reference=reference)
    return as_markdown(figures, machine)


def measure_familiarity(bundles: Sequence[Path], manifest: Path, split: Split, n: int) -> str:
    """How many images of each module each bundle assesses, in Markdown; ConfigError for a bundle without `familiar_from`."""
    asked = []
    for path in bundles:
        section = read_metadata((path / METADATA).read_bytes())[1]
        if section.familiar_from is None:
            raise ConfigError(f"{path} has no familiar_from: `gsco-pacs models fit` writes it.")
        asked.append(Asked(load_bundle(path)[0], section.module))
    with progress_bar("looking", Console(stderr=True)) as progress:
        return familiarity_table(familiarity(asked, manifest, split, n, progress), split)


def measure_honesty(config: Config, names: Sequence[str], n: int, template: str) -> str:
    """What each generalist does with findings that may stand side by side, in Markdown."""
    findings = _side_by_side(config)
    return table([honesty(open_generalist(name, config), findings, n, template=template) for name in names])


def measure_answers(config: Config, name: str, n: int, templates: Sequence[str]) -> str:
    """How fast the generalist called ``name`` answers about findings that may stand side by side, in Markdown."""
    findings = _side_by_side(config)
    return speed_table(answer_speed(open_generalist(name, config), findings, templates, n))


def _side_by_side(config: Config) -> tuple[Finding, ...]:
    """The findings of the first bundle that a route consults for several at once; ConfigError if there is none."""
    paths = [config.bundle_dir(name) for name in specialists_of(config.routes)]
    bundles = (load_bundle(path)[0].findings for path in paths if not segments(path))
    found = next((own for own in bundles if not any(finding.exclusive for finding in own)), ())
    if not found:
        raise ConfigError("No route consults a bundle whose findings may stand side by side: add one.")
    return found
