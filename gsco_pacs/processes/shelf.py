"""The bundles that a configuration can reach: listed, described and verified. Only verifying loads a network."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from gsco_pacs.adapters.bundle_files import VerifiedFiles
from gsco_pacs.adapters.bundle_format import (
    CARD,
    EVALUATION,
    LICENCE,
    METADATA,
    GscoSection,
    metadata_of,
    read_section,
    segments,
)
from gsco_pacs.adapters.segmentation_format import SegmentationSection
from gsco_pacs.config import Config, shipped
from gsco_pacs.domain.codes import fault_of
from gsco_pacs.domain.errors import BrokenBundleError
from gsco_pacs.domain.findings import Code

Facts = Mapping[str, Any]
_OTHER_WEIGHTS = "- CAUTION: these figures are those of other weights."


@dataclass(frozen=True)
class Verdict:
    """What verifying a bundle came to."""

    right: bool
    lines: tuple[str, ...]


def bundles(config: Config) -> dict[str, Path]:
    """Name -> directory of every bundle that a route may name; the configuration's own come first."""
    found: dict[str, Path] = {}
    for folder in (*(config.absolute(path) for path in config.models), shipped("models")):
        for metadata in sorted(folder.glob(f"*/{METADATA}")):
            if "gsco" in metadata_of(metadata.parent.parent):
                found.setdefault(metadata.parent.parent.name, metadata.parent.parent)
    return found


def bundle_at(name: str, config: Config) -> Path:
    """The bundle called ``name``, or in the directory ``name``; ConfigError if there is none."""
    here = Path(name)
    return here if (here / METADATA).is_file() else config.bundle_dir(name)


def listed(config: Config) -> str:
    """A Markdown table with one row a bundle."""
    columns = ("name", "version", "task", "members", "labels", "licence", "MB", "routes")
    rows = []
    for name, bundle in bundles(config).items():
        facts = metadata_of(bundle)
        routes = [route.name for route in config.routes if name in route.specialists]
        rows.append(
            [
                name,
                str(facts.get("version", "")),
                f"{facts['gsco'].get('task', '')}: {facts['gsco'].get('title', '')}",
                str(1 + len(facts["gsco"].get("members", ()))),
                str(len(facts["gsco"].get("labels", ()))),
                _licence(bundle) or "none",
                f"{sum(path.stat().st_size for path in bundle.rglob('*') if path.is_file()) / 1e6:.1f}",
                ", ".join(routes) or "none",
            ]
        )
    return _table(columns, rows)


def described(bundle: Path) -> str:
    """Everything that a department asks of a bundle, in Markdown; BrokenBundleError if its section is none."""
    kind = SegmentationSection if segments(bundle) else GscoSection
    facts, _ = read_section((bundle / METADATA).read_bytes(), kind)
    parts = [
        "\n".join(_head(bundle, facts)),
        "## What it reads\n\n" + "\n".join(f"- {line}" for line in _contract(facts["gsco"])),
        "## What it says\n\n" + (_segments if "segments" in facts["gsco"] else _labels)(facts["gsco"]),
        "## How good it is\n\n" + "\n".join(_figures(bundle)),
    ]
    return "\n\n".join(parts)


def verified(bundle: Path) -> Verdict:
    """Whether checksums, licence, codes and sample are right, with a sentence for each fault."""
    name = bundle.resolve().name
    try:
        facts = metadata_of(bundle)
        faults = [*_file_faults(bundle), *_code_faults(facts)]
        if not faults:
            from gsco_pacs.adapters.bundle_samples import sample_faults

            faults = list(sample_faults(bundle))
    except BrokenBundleError as error:
        faults = [str(error)]
    if faults:
        return Verdict(right=False, lines=tuple(f"{name}: {fault}" for fault in faults))
    proved = "checksums, licence, codes and the sample's answers are right."
    return Verdict(right=True, lines=(f"{name} {facts.get('version', '')}: {proved}",))


def _file_faults(bundle: Path) -> Iterator[str]:
    files = VerifiedFiles(bundle)
    for listed_name in files.sums:
        try:
            files.read(listed_name)
        except BrokenBundleError as error:
            yield str(error)
    if not _licence(bundle):
        yield f"It has no {LICENCE} file that begins with the licence's name: add one (training does if the task says `licence`)."


def _licence(bundle: Path) -> str:
    """The first line of the licence, with its version if that is the second; empty without one."""
    try:
        text = (bundle / LICENCE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    lines = [line.strip(" #\t") for line in text.splitlines() if line.strip(" #\t")]
    version = lines[1].split(",")[0] if len(lines) > 1 and lines[1].startswith("Version") else ""
    return f"{lines[0][:60]} {version}".strip() if lines else ""


def _code_faults(value: Any) -> Iterator[str]:
    """The faults of every code that stands anywhere in the metadata."""
    if isinstance(value, dict):
        if {"value", "scheme", "meaning"} <= set(value):
            fault = fault_of(Code(str(value["value"]), str(value["scheme"]), str(value["meaning"])))
            if fault:
                yield fault
        for item in value.values():
            yield from _code_faults(item)
    elif isinstance(value, list):
        for item in value:
            yield from _code_faults(item)


def _head(bundle: Path, facts: Facts) -> Iterator[str]:
    yield f"# {facts.get('name', bundle.name)} {facts.get('version', '')}: {facts['gsco'].get('title', '')}\n"
    yield f"{facts.get('description', '')}\n"
    yield f"Licence: {_licence(bundle) or 'none'}. Intended use: {facts.get('intended_use', 'not said')}"
    if (bundle / CARD).is_file():
        card = (bundle / CARD).read_text(encoding="utf-8").split("\n## ")[0]
        yield "\n" + "\n".join(line for line in card.splitlines() if not line.startswith("# ")).strip()


def _contract(gsco: Facts) -> Iterator[str]:
    wanted = gsco.get("input", {})
    yield f"modality: {', '.join(wanted.get('modalities', ())) or 'any'}"
    names = (f"{UID(uid).name} ({uid})" for uid in wanted.get("sop_classes", ()))
    yield f"SOP class: {', '.join(names) or 'any'}"
    for word, key in (("body part", "body_parts"), ("view", "views")):
        yield f"{word}: {', '.join(wanted.get(key, ())) or 'any'} (an image that does not say is taken)"
    if "segments" in gsco:
        yield from _volume_contract(gsco)
        return
    yield f"at least {wanted.get('min_rows', 1)} x {wanted.get('min_columns', 1)} pixels"
    yield f"reading: {_flat(gsco.get('reading', {}))}, max_images {wanted.get('max_images', 1)}"
    yield f"pooling: {_flat(gsco.get('pooling', {}))}"


def _volume_contract(gsco: Facts) -> Iterator[str]:
    wanted, prepare = gsco["input"], gsco["prepare"]
    least = " x ".join(f"{side:g}" for side in wanted["min_extent_mm"])
    most = " x ".join(f"{side * prepare['spacing_mm']:g}" for side in prepare["patch"])
    yield f"whole series of at least {wanted['min_slices']} slices, as one volume each"
    yield f"field of view from {least} to {most} mm (right-left x back-front x feet-head)"
    yield f"voxels of at most {wanted['max_spacing_mm']:g} mm, turned by at most {wanted['max_tilt_degrees']:g} degrees"


def _segments(gsco: Facts) -> str:
    rows = []
    for entry in gsco["segments"]:
        codes = [entry[key] for key in ("category", "code", "site", "site_modifier") if entry.get(key)]
        named = "; ".join(f"{code['value']} {code['scheme']} {code['meaning']}" for code in codes)
        low, high = entry["plausible_mm3"]
        rows.append([entry["label"], entry["text"], named, f"{low:g} to {high:g}"])
    return _table(("segment", "words", "codes", "plausible mm3"), rows)


def _labels(gsco: Facts) -> str:
    calibrated = [gsco.get("labels", ()), *(member["labels"] for member in gsco.get("members", ()))]
    rows = []
    for place, entry in enumerate(gsco.get("labels", ())):
        codes = [entry.get(key) for key in ("code", "site", "severity") if entry.get(key)]
        limits = [own[place] for own in calibrated]
        rows.append(
            [
                entry["label"],
                entry.get("text", ""),
                "; ".join(f"{code['value']} {code['scheme']} {code['meaning']}" for code in codes),
                " / ".join(f"{own.get('absent_below', 0.5):.2f}" for own in limits),
                " / ".join(f"{own.get('present_from', 0.5):.2f}" for own in limits),
            ]
        )
    return _table(("label", "words", "codes", "absent below", "present from"), rows)


def _figures(bundle: Path) -> Iterator[str]:
    try:
        figures = json.loads((bundle / EVALUATION).read_bytes())
    except (OSError, ValueError):
        yield f"Not measured: there is no {EVALUATION}."
        return
    if "segments" in figures:
        yield f"- {figures['name']} {figures['version']} on {figures['module']}, {figures['split']}: {figures['n']} volumes"
        for one in figures["segments"]:
            yield f"- {one['label']}: Dice {_interval(one['dice'])}, off by {one['error']['value']:.0f} mm3 on average"
        files = VerifiedFiles(bundle)
        if figures["weights_sha256"] != files.sums.get(files.weights):
            yield _OTHER_WEIGHTS
        return
    if "macro_auc" not in figures:
        yield json.dumps(figures, indent=1)
        return
    for each in (figures, *figures.get("further", ())):
        yield (
            f"- {each['name']} {each['version']}: macro AUC {_interval(each['macro_auc'])} on {each['module']}, "
            f"{each['split']}: {each['n']} images of {each['patients']} patients, {each['evaluated']}"
        )
    last = (figures, *figures.get("further", ()))[-1]
    for entry in last["labels"]:
        yield f"- {entry['label']}: AUC {_interval(entry['auc'])}, {entry['positives']} positives"
    files = VerifiedFiles(bundle)
    if figures["weights_sha256"] != files.sums.get(files.weights):
        yield _OTHER_WEIGHTS


def _interval(interval: Facts) -> str:
    if interval["value"] is None:
        return "not defined"
    return f"{interval['value']:.2f} ({interval['low']:.2f}-{interval['high']:.2f})"


def _flat(entry: Facts) -> str:
    return ", ".join(f"{key} {value}" for key, value in entry.items()) or "the default"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
