"""The commands that make and keep models: ``gsco-pacs train`` and ``gsco-pacs models``."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gsco_pacs.config import load_config
from gsco_pacs.domain.errors import ConfigError

train = typer.Typer(no_args_is_help=True, help="Make models from a manifest of images.")
models = typer.Typer(no_args_is_help=True, help="Keep bundles and generalists.")

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
    epochs: Annotated[
        int | None, typer.Option(help="Times that every image is seen: 16, of volumes 30, if not said.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest one: 3e-4, of volumes 2e-3, if not said.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Edge of the pictures in pixels: 320, if not said.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights on one machine.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="Torch device of the training, such as cuda.")] = "cpu",
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Start from chance, with no weights at all.")
    ] = False,
    members: Annotated[
        int | None,
        typer.Option(min=1, help="So many networks, with the seeds SEED, SEED + 1 and so on, in one bundle."),
    ] = None,
) -> None:
    """Train a specialist and write it as a bundle, its case index and a sample included."""
    from gsco_pacs.adapters.bundle_samples import seal
    from gsco_pacs.adapters.photograph_network import imagenet_weights
    from gsco_pacs.adapters.progress_bar import progress_bar
    from gsco_pacs.training.segmentation_task import segments_asked

    if segments_asked(task):
        images_only = {"--soft-labels": soft_labels, "--start": start, "--size": size, "--members": members}
        _refuse_given(images_only | {"--scratch": scratch or None})
        print(
            _train_segmenter(task, manifest, out, epochs or 30, learning_rate or 2e-3, seed, threads, device)
        )
        return
    from gsco_pacs.training.index import build_index
    from gsco_pacs.training.joining import join_bundles
    from gsco_pacs.training.learning import Recipe
    from gsco_pacs.training.specialist import TrainingRequest, train_specialist

    request = TrainingRequest(
        task,
        manifest,
        out,
        None if scratch else start or imagenet_weights(),
        soft_labels,
        size=size or 320,
        recipe=Recipe(epochs=epochs or 16, learning_rate=learning_rate or 3e-4),
        seed=seed,
        threads=threads,
        device=device,
    )
    count = members or 1
    parts = [out] if count == 1 else [out.with_name(f"{out.name}.{n}") for n in range(1, count + 1)]
    for number, part in enumerate(parts):
        with progress_bar("training", Console()) as progress:
            train_specialist(replace(request, out=part, seed=seed + number), progress)
    with progress_bar("case index", Console()) as progress:
        build_index(parts[0], manifest, progress)
    print(seal(out) if count == 1 else join_bundles(out, parts))


def _refuse_given(options: Mapping[str, object]) -> None:
    """ConfigError that names those of ``options`` that were given: of volumes they would change nothing."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(f"A task of the kind segmentation takes no {', '.join(given)}.")


def _train_segmenter(
    task: Path,
    folder: Path,
    out: Path,
    epochs: int,
    learning_rate: float,
    seed: int,
    threads: int,
    device: str,
) -> Path:
    from gsco_pacs.adapters.bundle_samples import seal
    from gsco_pacs.adapters.progress_bar import progress_bar
    from gsco_pacs.training.segmentation import SegmentationRequest, train_segmenter

    request = SegmentationRequest(
        task,
        folder,
        out,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        threads=threads,
        device=device,
    )
    with progress_bar("training", Console()) as progress:
        return seal(train_segmenter(request, progress))


@train.command("generator")
def train_generator(
    manifest: Manifest, out: Annotated[Path, typer.Option(help="Directory of the generator's weights.")]
) -> None:
    """Train the generator of the demo's synthetic radiographs."""
    from gsco_pacs.adapters.progress_bar import progress_bar
    from gsco_pacs.training.generator import GeneratorRequest, train_generator

    with progress_bar("training", Console()) as progress:
        print(train_generator(GeneratorRequest(manifest, out), progress))


@models.command("join")
def models_join(
    out: Annotated[Path, typer.Argument(help="Directory of the new bundle; may be one of the others.")],
    bundles: Annotated[list[Path], typer.Argument(help="Directories of trained bundles of one task.")],
    task: Annotated[
        Path | None, typer.Option(help="Task file (YAML) whose names, words, codes and input are taken.")
    ] = None,
) -> None:
    """Make one bundle of several trained for the same task; the first brings the case index."""
    from gsco_pacs.training.joining import join_bundles

    print(join_bundles(out, bundles, task))


@models.command("list")
def models_list(context: typer.Context) -> None:
    """List the bundles that the configuration can reach, and the routes that consult them."""
    from gsco_pacs.processes.shelf import listed

    print(listed(load_config(context.obj)))


@models.command("describe")
def models_describe(
    context: typer.Context, name: Annotated[str, typer.Argument(help="Name or directory of a bundle.")]
) -> None:
    """Tell what a department asks of a bundle: its card, what it reads, its labels and codes, its figures."""
    from gsco_pacs.processes.shelf import bundle_at, described

    print(described(bundle_at(name, load_config(context.obj))))


@models.command("verify")
def models_verify(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or directories; all if none are given.")
    ] = None,
) -> None:
    """Check checksums, licence, codes and that a sample gives what it should; exit code 1 if anything is wrong."""
    from gsco_pacs.processes.shelf import bundle_at, bundles, verified

    config = load_config(context.obj)
    chosen = [bundle_at(name, config) for name in names or ()] or list(bundles(config).values())
    results = [verified(bundle) for bundle in chosen]
    for result in results:
        print("\n".join(result.lines))
    if not all(result.right for result in results):
        raise typer.Exit(1)


@models.command("fit")
def models_fit(
    bundle: Annotated[Path, typer.Argument(help="Directory of a bundle that was trained elsewhere.")],
    manifest: Manifest,
) -> None:
    """Calibrate a bundle on your own images, choose its thresholds, build its case index and seal it."""
    from gsco_pacs.adapters.progress_bar import progress_bar
    from gsco_pacs.training.fitting import fit_bundle

    with progress_bar("fitting", Console()) as progress:
        print(fit_bundle(bundle, manifest, progress))


@models.command("seal")
def models_seal(bundle: Annotated[Path, typer.Argument(help="Directory of a bundle.")]) -> None:
    """Write a sample's expected output and SHA256SUMS into a bundle, after you have looked at what is in it."""
    from gsco_pacs.adapters.bundle_samples import seal

    print(seal(bundle))


@models.command("convert-meddr")
def convert_meddr(
    source: Annotated[Path, typer.Argument(help="The published checkpoint (internvl_chat), as downloaded.")],
    out: Annotated[Path, typer.Argument(help="New directory for the converted one.")],
) -> None:
    """Convert MedDr into the format that transformers loads, after printing what memory it will need."""
    from gsco_pacs.adapters.convert_meddr import convert_meddr
    from gsco_pacs.adapters.progress_bar import progress_bar

    with progress_bar("converting", Console()) as progress:
        convert_meddr(source, out, lambda line: progress(0, 0, line), progress)
    print(
        f"generalists:\n  meddr: {{kind: transformers, path: {out.absolute()}, device: auto, dtype: bfloat16}}"
    )


@models.command("memory")
def memory(
    path: Annotated[Path, typer.Argument(help="A checkpoint; its config.json is enough.")],
    trial: Annotated[
        bool,
        typer.Option(
            "--try", help="Also make it on the GPU with random weights, let it answer once and measure."
        ),
    ] = False,
) -> None:
    """Print what memory a generalist will need, part by part, and what this machine has."""
    from gsco_pacs.adapters.memory_plan import this_machine
    from gsco_pacs.adapters.transformers_generalist import plan_checkpoint

    for line in plan_checkpoint(path).lines(this_machine()):
        print(line)
    if trial:
        import torch

        from gsco_pacs.adapters.memory_trial import try_memory

        print(try_memory(path, torch.bfloat16))


@train.command("generalist")
def train_generalist(
    manifest: Manifest,
    bundle: Annotated[list[Path], typer.Option(help="A finished specialist; once for each task.")],
    out: Annotated[Path, typer.Option(help="Directory of the model.")],
    questions: Annotated[
        Path | None, typer.Option(help="Questions about images (JSON: file name -> list of q and a).")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many prompts it learns from.")] = 12000,
    layers: Annotated[int, typer.Option(help="How many layers of the language model are kept.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights on one machine.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Train the small generalist on everything that the specialists know, and write it in the Hugging Face format."""
    from gsco_pacs.adapters.progress_bar import progress_bar
    from gsco_pacs.training.generalist import GeneralistRequest, train_generalist
    from gsco_pacs.training.generalist_learning import Recipe

    request = GeneralistRequest(
        manifest,
        tuple(bundle),
        out,
        questions,
        layers=tuple(range(layers)),
        recipe=Recipe(samples=samples),
        seed=seed,
        threads=threads,
    )
    with progress_bar("training", Console()) as progress:
        print(train_generalist(request, progress))
