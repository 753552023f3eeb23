"""The commands that make and keep models: ``gsco-pacs train``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

train = typer.Typer(no_args_is_help=True, help="Make models from a manifest of images.")

Manifest = Annotated[
    Path, typer.Option(help="CSV, one row an image: path, module, label, group, split, view.")
]


@train.command("specialist")
def train_specialist(
    task: Annotated[Path, typer.Option(help="The task: labels, codes and input contract (YAML).")],
    manifest: Manifest,
    out: Annotated[Path, typer.Option(help="Directory of the bundle.")],
    soft_labels: Annotated[
        Path | None, typer.Option(help="Another model's probabilities (CSV) to learn from as well.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Weights to start from (a bundle's); ImageNet's if none are named.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Times that every image is seen.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="The highest one.")] = 3e-4,
    size: Annotated[int, typer.Option(help="Edge of the pictures in pixels.")] = 320,
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights on one machine.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Start from chance, with no weights at all.")
    ] = False,
) -> None:
    """Train a specialist and write it as a bundle, its case index included."""
    from gsco_pacs.adapters.progress_bar import progress_bar
    from gsco_pacs.training.index import build_index
    from gsco_pacs.training.learning import Recipe
    from gsco_pacs.training.specialist import TrainingRequest, train_specialist
    from gsco_pacs.training.start import imagenet_weights

    request = TrainingRequest(
        task,
        manifest,
        out,
        None if scratch else start or imagenet_weights(),
        soft_labels,
        size=size,
        recipe=Recipe(epochs=epochs, learning_rate=learning_rate),
        seed=seed,
        threads=threads,
    )
    with progress_bar("training", Console()) as progress:
        train_specialist(request, progress)
    with progress_bar("case index", Console()) as progress:
        print(build_index(out, manifest, progress))


@train.command("generator")
def train_generator(
    manifest: Manifest, out: Annotated[Path, typer.Option(help="Directory of the generator's weights.")]
) -> None:
    """Train the generator of the demo's synthetic radiographs."""
    from gsco_pacs.adapters.progress_bar import progress_bar
    from gsco_pacs.training.generator import GeneratorRequest, train_generator

    with progress_bar("training", Console()) as progress:
        print(train_generator(GeneratorRequest(manifest, out), progress))
