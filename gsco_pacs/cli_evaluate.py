"""The commands that measure: ``gsco-pacs evaluate`` (how good) and ``gsco-pacs bench`` (how fast)."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from gsco_pacs.config import load_config
from gsco_pacs.domain.findings import Mode

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


Out = Annotated[Path, typer.Option(help="Folder of the run; what is already in it is not done again.")]
Datasets = Annotated[
    list[str], typer.Option("--dataset", help="A module of --manifest, or NAME=PATH; may be given again.")
]
DataManifest = Annotated[Path | None, typer.Option("--manifest", help="CSV, one row an image.")]
SplitOption = Annotated[Literal["val", "test"], typer.Option(help="Choose on val, look at test once.")]
Bundles = Annotated[
    list[Path] | None, typer.Option("--bundles", help="Directory of bundles, instead of the configured ones.")
]
Assigned = Annotated[
    list[str] | None,
    typer.Option("--specialist", help="NAME=BUNDLE, for a data set that no bundle calls its own."),
]
GeneralistName = Annotated[str, typer.Option("--generalist", help="Name in config.yaml's `generalists`.")]
PerTask = Annotated[int, typer.Option(min=0, help="Cases of each data set for the generalist; 0 = all.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes that share the cases.")]


@evaluate.command("run")
def evaluate_run(
    context: typer.Context,
    out: Out,
    dataset: Datasets,
    manifest: DataManifest = None,
    split: SplitOption = "test",
    mode: Annotated[
        list[Mode] | None,
        typer.Option(
            help="Who works together; every mode if none is given, `specialists` without a language model."
        ),
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="The prompt: gsco, options or published; may be given again.")
    ] = None,
    generalist: GeneralistName = "structured",
    bundles: Bundles = None,
    specialist: Assigned = None,
    per_task: PerTask = 0,
    jobs: Jobs = 1,
) -> None:
    """Ask specialists and generalist about every case of data sets, in any modes; can be interrupted and resumed."""
    from gsco_pacs.evaluation.records import Variant
    from gsco_pacs.evaluation.summary import as_markdown
    from gsco_pacs.processes.evaluating import evaluate, modes, request

    config = load_config(context.obj)
    together = mode or modes(config, generalist)
    variants = tuple(Variant(one, name) for name in template or ["gsco"] for one in together)
    asked = request(out, dataset, manifest, split, generalist, bundles, specialist, per_task, jobs)
    evaluate(config, asked, variants)
    print(as_markdown(out, split))


@evaluate.command("ablation")
def evaluate_ablation(
    context: typer.Context,
    out: Out,
    dataset: Datasets,
    generalist: GeneralistName,
    manifest: DataManifest = None,
    split: SplitOption = "test",
    template: Annotated[str, typer.Option(help="The prompt that is taken apart.")] = "gsco",
    members: Annotated[int, typer.Option(min=1, help="Members of the largest bundle.")] = 1,
    bundles: Bundles = None,
    specialist: Assigned = None,
    per_task: PerTask = 0,
    jobs: Jobs = 1,
) -> None:
    """What each part of the briefing is worth: similar cases, members, wording, and opinions that are wrong."""
    from gsco_pacs.evaluation.ablation import ablation_variants
    from gsco_pacs.evaluation.summary import as_markdown
    from gsco_pacs.processes.evaluating import evaluate, request

    asked = request(out, dataset, manifest, split, generalist, bundles, specialist, per_task, jobs)
    evaluate(load_config(context.obj), asked, ablation_variants(template, members))
    print(as_markdown(out, split))


@evaluate.command("gate")
def evaluate_gate(run: Annotated[Path, typer.Argument(help="Folder of a run that holds val.")]) -> None:
    """Choose each task's gate on val: the one that saves most calls for half a point of macro-F1; kept in the run."""
    from gsco_pacs.evaluation.summary import choose_gates

    for name, gate in choose_gates(run).items():
        print(f"{name}: {gate.model_dump_json(exclude_defaults=True)}")


@evaluate.command("report")
def evaluate_report(
    run: Annotated[list[Path], typer.Argument(help="Folders of runs, the one that is drawn first.")],
    page: Annotated[Path, typer.Option(help="The page whose made part is written anew.")] = Path(
        "docs/evaluation.md"
    ),
    split: SplitOption = "test",
    price_in: Annotated[float, typer.Option(help="Price of a million tokens that are read.")] = 0,
    price_out: Annotated[float, typer.Option(help="Price of a million tokens that are written.")] = 0,
    chexbert: Annotated[
        Path | None, typer.Option(help="CheXbert's folder: compares what reports state.")
    ] = None,
    radgraph: Annotated[
        Path | None, typer.Option(help="RadGraph's folder: compares entities and relations.")
    ] = None,
    bert_score: Annotated[
        Path | None, typer.Option(help="distilroberta-base: compares words; with both above, RadCliQ.")
    ] = None,
    ratescore: Annotated[
        Path | None, typer.Option(help="RaTEScore's folder: compares entities by meaning.")
    ] = None,
    green: Annotated[Path | None, typer.Option(help="GREEN's language model: counts errors.")] = None,
) -> None:
    """Write the tables between the marks of a page, and beside it the same figures as JSON and as a plot."""
    from gsco_pacs.evaluation.model_measures import MeasurePaths, measures
    from gsco_pacs.evaluation.results import Prices
    from gsco_pacs.evaluation.summary import write_page

    given = MeasurePaths(chexbert, radgraph, bert_score, ratescore, green)
    write_page(page, run, split, Prices(price_in, price_out), measures(given))
    print(page)


@evaluate.command("familiarity")
def evaluate_familiarity(
    bundle: Annotated[list[Path], typer.Argument(help="Directories of bundles.")],
    manifest: Manifest,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which images are shown.")] = "test",
    n: Annotated[int, typer.Option(min=1, help="Images of each module at most.")] = 40,
) -> None:
    """How many images of each module of a manifest each bundle assesses, and how many are too strange to it."""
    from gsco_pacs.processes.measuring import measure_familiarity

    print(measure_familiarity(bundle, manifest, split, n))


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


@evaluate.command("injection")
def evaluate_injection(
    context: typer.Context,
    dataset: Datasets,
    manifest: DataManifest = None,
    split: SplitOption = "test",
    generalist: GeneralistName = "structured",
    bundles: Bundles = None,
    specialist: Assigned = None,
    per_task: Annotated[int, typer.Option(min=1, help="Cases of each data set.")] = 40,
) -> None:
    """Write orders into images, and count which decisions of specialists, generalist and draft change."""
    from gsco_pacs.processes.evaluating import measure_injection, request

    asked = request(Path(), dataset, manifest, split, generalist, bundles, specialist, per_task, 1)
    print(measure_injection(load_config(context.obj), asked))


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
    objects: Annotated[int, typer.Option(help="CT images of 0.5 MB a round.")] = 500,
    large: Annotated[int, typer.Option(help="DX images of 15 MB a round.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds, the servers in turns.")] = 5,
    nagle: Annotated[
        bool, typer.Option("--nagle", help="Leave Nagle's algorithm on in DCMTK and Orthanc.")
    ] = False,
    soak: Annotated[
        int, typer.Option(help="Instead, send this many small images and print the receiver's memory.")
    ] = 0,
) -> None:
    """C-STORE rate beside Orthanc's and DCMTK storescp's in one run, and what no receiver can be faster than."""
    from gsco_pacs.evaluation import bench_limits, bench_soak
    from gsco_pacs.evaluation.bench_receive import ReceiveBench, bench_receive, receive_table

    def progress(line: str) -> None:
        print(line, file=sys.stderr)

    if soak:
        print(bench_soak.soak(soak, progress))
    else:
        rates = bench_receive(ReceiveBench(objects, large, rounds, nagle=nagle), progress)
        print(receive_table(rates), bench_limits.measure_limits(), sep="\n\n")


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


@bench.command("urgency")
def bench_urgency(
    context: typer.Context,
    studies: Annotated[int, typer.Option(min=2, help="STAT studies, idle and under load each.")] = 15,
    backlog: Annotated[int, typer.Option(min=1, help="Routine studies that are queued beside each.")] = 30,
    lanes: Annotated[
        bool, typer.Option("--lanes", help="Once more with workers.stat_lanes in all stages.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the bench's nodes live.")] = Path("demo-out/urgency"),
) -> None:
    """Seconds of STAT studies in an idle node and beside a full backlog of routine ones."""
    from gsco_pacs.evaluation.bench_urgency import UrgencyBench, bench_urgency, table
    from gsco_pacs.testing.samples import write_chests

    bench, images = UrgencyBench(studies, backlog), write_chests(out / "samples", 5)
    print(
        table(
            bench,
            [
                bench_urgency(bench, images, context.obj, out / name, lanes=name == "lanes")
                for name in ["plain", *["lanes"] * lanes]
            ],
        )
    )


@bench.command("answer")
def bench_answer(
    context: typer.Context,
    generalist: Annotated[str, typer.Argument(help="A name in config.yaml's `generalists`.")],
    n: Annotated[int, typer.Option(help="How many answers in each template.")] = 10,
    template: Annotated[list[str] | None, typer.Option(help="A prompt, as in a route.")] = None,
) -> None:
    """Seconds an answer and peak memory of a generalist on this machine."""
    from gsco_pacs.processes.measuring import measure_answers

    print(measure_answers(load_config(context.obj), generalist, n, template or ["options", "briefed"]))


@bench.command("decode")
def bench_decode(
    rounds: Annotated[int, typer.Option(min=1, help="How often each frame is decoded.")] = 15,
) -> None:
    """Milliseconds of a compressed frame in the decoder's confined process and without it."""
    from gsco_pacs.evaluation.bench_decode import decode_cost, table

    print(table(decode_cost(rounds), rounds))


@bench.command("fuzz")
def bench_fuzz(
    first: Annotated[
        int, typer.Option(min=0, help="Number of the first input; a fault is played again by its number.")
    ] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many hostile inputs.")] = 105_000,
    seed: Annotated[int, typer.Option(help="Another seed makes other inputs.")] = 1,
    odd: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of DICOM files to start from, beside pydicom's own; may be given again."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the attacked node lives; must be empty.")] = Path(
        "demo-out/fuzz"
    ),
) -> None:
    """Attack a receiver with hostile PDUs, commands and data sets; exit code 1 if anything is lost, leaks or stops."""
    from gsco_pacs.testing.fuzzing import fuzz, fuzz_table

    campaign = fuzz(
        out, range(first, first + count), seed=seed, odd=odd or [],
        progress=lambda line: print(line, file=sys.stderr),
    )  # fmt: skip
    print(fuzz_table(campaign))
    if campaign.faults:
        raise typer.Exit(1)
