"""The commands that measure: ``gsco-pacs evaluate`` (how good) and ``gsco-pacs bench`` (how fast)."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from gsco_pacs.config import load_config

evaluate = typer.Typer(no_args_is_help=True, help="Measure how good the parts are.")
bench = typer.Typer(no_args_is_help=True, help="Measure how fast the node is.")

Manifest = Annotated[
    Path, typer.Option(help="CSV, one row an image: path, module, label, group, split, view.")
]
Bundle = Annotated[Path, typer.Option(help="Directory of the bundle.")]


@evaluate.command("specialist")
def evaluate_specialist(
    bundle: Bundle,
    manifest: Manifest,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Look at test once.")] = "test",
    reference: Annotated[
        Path | None, typer.Option(help="Another model's probabilities (CSV) to compare with.")
    ] = None,
) -> None:
    """Measure a specialist; writes docs/evaluation.json into the bundle and prints the tables."""
    from gsco_pacs.processes.measuring import measure_specialist

    print(measure_specialist(bundle, manifest, split, reference))


@evaluate.command("honesty")
def evaluate_honesty(
    context: typer.Context,
    generalist: Annotated[list[str], typer.Argument(help="Names in config.yaml's `generalists`.")],
    n: Annotated[int, typer.Option(help="How many synthetic studies.")] = 20,
    template: Annotated[str, typer.Option(help="The prompt, as in a route.")] = "briefed",
) -> None:
    """How often a generalist denies, invents or leaks a finding, and what the gate lets through."""
    from gsco_pacs.processes.measuring import measure_honesty

    print(measure_honesty(load_config(context.obj), generalist, n, template))


@evaluate.command("copies")
def evaluate_copies(
    manifest: Manifest, seeds: Annotated[int, typer.Option(help="How many synthetic radiographs.")] = 20
) -> None:
    """Compare synthetic radiographs with every image that the generator was trained on."""
    from gsco_pacs.testing.copies import measure_copies

    print(measure_copies(manifest, range(1, seeds + 1)))


@evaluate.command("datasets")
def evaluate_datasets() -> None:
    """List the data sets that can be evaluated on, the layout that is expected of each, and how it was tested."""
    from gsco_pacs.datasets.registry import as_markdown

    print(as_markdown())


@bench.command("receive")
def bench_receive(
    objects: Annotated[int, typer.Option(help="Images a round.")] = 300,
    rounds: Annotated[int, typer.Option(help="Rounds, the servers in turns.")] = 3,
    nagle: Annotated[
        bool, typer.Option("--nagle", help="Leave Nagle's algorithm on in DCMTK and Orthanc.")
    ] = False,
) -> None:
    """C-STORE rate beside Orthanc's and DCMTK storescp's in one run."""
    from gsco_pacs.evaluation.bench_receive import ReceiveBench, bench_receive, receive_table

    print(
        receive_table(
            bench_receive(
                ReceiveBench(objects, rounds, nagle=nagle), lambda line: print(line, file=sys.stderr)
            )
        )
    )


@bench.command("walk")
def bench_walk(
    context: typer.Context,
    studies: Annotated[int, typer.Option(help="How many synthetic studies, one after the other.")] = 21,
    out: Annotated[Path, typer.Option(help="Where the bench's node lives.")] = Path("demo-out/bench"),
) -> None:
    """Seconds from the last image to the reports at the destination, by stage."""
    from gsco_pacs.evaluation.bench_walk import bench_walk, table
    from gsco_pacs.testing.samples import write_chests

    print(table(bench_walk(write_chests(out / "samples", studies), context.obj, out)))
