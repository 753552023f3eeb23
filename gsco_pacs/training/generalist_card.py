"""Writes the model card of the small generalist, and the checksums of its directory."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from gsco_pacs.adapters.bundle_format import SUMS
from gsco_pacs.training.generalist_check import Figure, as_table


def write_card(
    out: Path, recipe: Mapping[str, Any], figures: Sequence[Figure], bundles: Sequence[Path]
) -> None:
    """Write README.md from its template with the figures of this training, and SHA256SUMS over everything."""
    text = files("gsco_pacs").joinpath("prompts", "generalist-card.md").read_text(encoding="utf-8")
    filled = Template(text).substitute(
        table=as_table(figures),
        recipe=", ".join(f"{name} {value}" for name, value in recipe.items()),
        bundles=", ".join(bundle.name for bundle in bundles),
        megabytes=f"{sum(file.stat().st_size for file in out.glob('*.safetensors')) / 1e6:.0f}",
    )
    (out / "README.md").write_text(filled, encoding="utf-8")
    (out / "figures.json").write_text(
        json.dumps([vars(figure) for figure in figures], indent=1) + "\n", encoding="utf-8"
    )
    names = sorted(file.name for file in out.iterdir() if file.is_file() and file.name != SUMS)
    lines = [f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (out / SUMS).write_text("".join(lines), encoding="utf-8")
