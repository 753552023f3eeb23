"""Writes a trained specialist as a MONAI bundle."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save

from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import (
    INFERENCE,
    LICENCE,
    METADATA,
    WEIGHTS,
    CalibrationEntry,
    GscoSection,
    LabelEntry,
    read_metadata,
)
from gsco_pacs.adapters.durable_file import write_durably
from gsco_pacs.adapters.segmentation_format import SegmentationSection
from gsco_pacs.training.segmentation_task import SegmentationTask
from gsco_pacs.training.task import NOT_STATED, Named, Task

_NAMING = ("version", "name", "task", "description")
_OWNERSHIP = ("authors", "copyright")


def write_bundle(
    out: Path, task: Task, section: GscoSection, network_def: dict[str, Any], network: torch.nn.Module
) -> None:
    """Write metadata, network definition, weights (float16) and checksums into ``out``; other files stay."""
    _put(out, task, network, network_def, _described(task, section))


def _put(
    out: Path, task: Named, network: torch.nn.Module, network_def: dict[str, Any], metadata: dict[str, Any]
) -> None:
    if task.licence and not (out / LICENCE).exists():
        _write(out / LICENCE, f"{task.licence}\n".encode())
    weights = {key: _half(value) for key, value in network.state_dict().items()}
    _write(out / WEIGHTS, save(weights))
    _write(out / INFERENCE, as_json({"network_def": network_def}))
    _write(out / METADATA, as_json(metadata))
    write_sums(out)


def rewrite_section(
    out: Path, changes: Mapping[str, Any], files: Mapping[str, bytes] = MappingProxyType({})
) -> Path:
    """Put ``changes`` into the `gsco` section of a bundle that is there already, and ``files`` beside it; renew the checksums."""
    metadata, section = read_metadata((out / METADATA).read_bytes())
    metadata["gsco"] = section.model_copy(update=changes).model_dump(mode="json", by_alias=True)
    for name, content in {**files, METADATA: as_json(metadata)}.items():
        _write(out / name, content)
    write_sums(out)
    return out


def calibrations_of(labels: Sequence[LabelEntry]) -> tuple[CalibrationEntry, ...]:
    """The numbers of ``labels`` without their words, as a further member holds them."""
    known = set(CalibrationEntry.model_fields)
    return tuple(CalibrationEntry.model_validate(entry.model_dump(include=known)) for entry in labels)


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.detach().half().contiguous() if value.is_floating_point() else value.detach().clone()


def as_json(content: Any) -> bytes:
    """``content`` as a file of a bundle holds it."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, content)


def _described(task: Task, section: GscoSection) -> dict[str, Any]:
    """The keys that MONAI's bundle specification asks for, and our section."""
    size = section.prepare.size
    image = {"type": "image", "format": "magnitude", "modality": task.modality_phrase, "num_channels": 1}
    outputs = {str(index): entry.label for index, entry in enumerate(section.labels)}
    return _general(task) | {
        "network_data_format": {
            "inputs": {
                "image": image
                | {
                    "spatial_shape": [size, size],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                }
                | {"channel_def": {"0": "grey"}}
            },
            "outputs": {
                "pred": {"type": "probabilities", "format": "classes", "num_channels": len(outputs)}
                | {
                    "spatial_shape": [len(outputs)],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                }
                | {"channel_def": outputs}
            },
        },
        "gsco": section.model_dump(mode="json", by_alias=True),
    }


def renamed(metadata: Mapping[str, Any], task: Named) -> dict[str, Any]:
    """``metadata`` under the name and version that ``task`` gives; whose the bundle is stays, if it is stated."""
    says, before = _general(task), metadata.get("version", "unknown")
    unowned = [key for key in _OWNERSHIP if metadata.get(key, NOT_STATED) == NOT_STATED]
    changelog = {task.version: f"made of version {before}"} | metadata.get("changelog", {})
    return {**metadata, **{key: says[key] for key in (*_NAMING, *unowned)}, "changelog": changelog}


def _general(task: Named) -> dict[str, Any]:
    return {
        "version": task.version,
        "changelog": {task.version: "trained " + datetime.now(UTC).date().isoformat()},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "optional_packages_version": {},
        "name": task.name,
        "task": task.title,
        "description": task.description,
        "authors": task.authors,
        "copyright": task.copyright,
        "intended_use": "Research only; not for diagnostic use.",
    }


def write_segmenter(
    out: Path,
    task: SegmentationTask,
    section: SegmentationSection,
    network_def: dict[str, Any],
    network: torch.nn.Module,
) -> None:
    """Write the bundle of a network that segments, as ``write_bundle`` does."""
    names = {"0": "background"} | {str(n): entry.label for n, entry in enumerate(section.segments, start=1)}
    common = {"spatial_shape": list(section.prepare.patch), "dtype": "float32", "value_range": []}
    image = {"type": "image", "format": "magnitude", "modality": task.modality_phrase, "num_channels": 1}
    pred = {"type": "image", "format": "segmentation", "num_channels": len(names)}
    form = {
        "inputs": {"image": image | common | {"is_patch_data": False, "channel_def": {"0": "grey"}}},
        "outputs": {"pred": pred | common | {"is_patch_data": False, "channel_def": names}},
    }
    metadata = _general(task) | {
        "network_data_format": form,
        "gsco": section.model_dump(mode="json", by_alias=True),
    }
    _put(out, task, network, network_def, metadata)
