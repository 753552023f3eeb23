"""Trains our own small generalist from a manifest and finished specialists, and writes it in the Hugging Face format."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from gsco_pacs.adapters.labelled_images import read_images
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.adapters.small_generalist import (
    WEIGHTS,
    SmallGeneralist,
    SmallGeneralistConfig,
    completed,
)
from gsco_pacs.adapters.small_llm import packaged_tokenizer, shape_of_packaged
from gsco_pacs.adapters.small_processor import make_processor
from gsco_pacs.domain.findings import Mode
from gsco_pacs.training.eyes import Lesson, Seen, learn_words, see, standardise
from gsco_pacs.training.generalist_batches import Writer
from gsco_pacs.training.generalist_card import write_card
from gsco_pacs.training.generalist_check import Figure, as_table, fit_arbiters, measure, specialists_alone
from gsco_pacs.training.generalist_learning import Recipe, Teacher
from gsco_pacs.training.generalist_samples import Mixture, Sampler
from gsco_pacs.training.generalist_tasks import (
    DiagnosisTask,
    Question,
    read_diagnosis_task,
    read_questions,
)

_QUICKLY = 40
"""Between two rounds at most so many images of a task are measured."""
_WORD = 4
"""Tokens of a word that the eye recognises: enough to tell all labels apart."""
_NOT_SAVED = ("eye.", "language.embed_tokens.")
"""What comes out of packages."""


@dataclass(frozen=True)
class GeneralistRequest:
    """What to train and where to put it; equal requests on one machine give equal weights."""

    manifest: Path
    """CSV with one row an image: path (relative to the file), module, label, group, split, view."""
    bundles: tuple[Path, ...]
    """Finished specialists: one task each."""
    out: Path
    """The directory that `path` of a generalist in config.yaml names."""
    questions: Path | None = None
    """JSON, image's file name -> list of q and a; only images of the split train are asked about."""
    question_module: str = "vqa_rad"
    start: Path | None = None
    """An earlier model to go on from; its words are learnt anew."""
    layers: tuple[int, ...] = (0, 1, 2)
    """Which layers of the language model are kept and trained."""
    recipe: Recipe = field(default_factory=Recipe)
    mixture: Mixture = field(default_factory=Mixture)
    seed: int = 1
    threads: int = 2

    @property
    def cache(self) -> Path:
        """What is worked out once: the eye's features, and what the specialists say of val."""
        return self.out.parent / f"{self.out.name}.cache"


def train_generalist(request: GeneralistRequest, progress: Told) -> Path:
    """Train, choose the best round on the part of val that is held aside, and return the model's directory.

    ConfigError if a package, the manifest or a bundle is not usable.
    """
    torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)
    tasks = [read_diagnosis_task(b, request.manifest, request.cache, progress) for b in request.bundles]
    questions = _questions(request)
    tokenizer = packaged_tokenizer()
    model = untrained(request.layers, tokenizer, tasks)
    if request.start is not None:
        earlier = load_file(request.start / WEIGHTS)
        kept = {name: value for name, value in earlier.items() if "recognise" not in name}
        model.load_state_dict(completed(model, kept), strict=False)
    processor = make_processor(tokenizer, model.config.image_size, model.config.image_tokens)
    seen = _seen(request, model, processor, tasks, questions, progress)
    writer = Writer(processor, seen.rows)
    figures = _taught(request, model, writer, seen, tasks, questions, progress)
    write_model(request.out, model, processor)
    write_card(request.out, {"seed": request.seed, **asdict(request.recipe)}, figures, request.bundles)
    progress(1, 1, as_table(figures))
    return request.out


def untrained(layers: Sequence[int], tokenizer: Any, tasks: Sequence[DiagnosisTask]) -> SmallGeneralist:
    """The model before training: eye and language out of the packages, the projector drawn."""
    labels = [
        tokenizer(label, add_special_tokens=False)["input_ids"] for task in tasks for label in task.labels
    ]
    words = [[*tokens, *[tokenizer.eos_token_id] * _WORD][:_WORD] for tokens in labels]
    digits = [tokenizer(str(n), add_special_tokens=False)["input_ids"][-1] for n in range(10)]
    text = LlamaConfig(**shape_of_packaged(), num_hidden_layers=len(layers))
    config = SmallGeneralistConfig(
        text_config=text, layers=layers, words=words, digits=digits, named=min(3, len(words))
    )
    model = SmallGeneralist(config)
    model.load_state_dict(completed(model, {}), strict=False)
    projector = model.projector
    for layer in (projector.first, projector.second, projector.recognise):
        layer.reset_parameters()
    model.train(mode=False)
    return model


def write_model(out: Path, model: SmallGeneralist, processor: Any) -> None:
    """Write config, processor and what was trained (half precision) into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(out)
    processor.save_pretrained(out)
    kept = {
        name: value.detach().half().contiguous()
        for name, value in model.state_dict().items()
        if model.config.base == "none" or not name.startswith(_NOT_SAVED)
    }
    save_file(kept, out / WEIGHTS, metadata={"format": "pt"})


def _questions(request: GeneralistRequest) -> tuple[Question, ...]:
    if request.questions is None:
        return ()
    images = read_images(request.manifest, request.question_module, "train", None)
    known = {image.path.name: image.path for image in images}
    return tuple(read_questions(request.questions, known))


def _seen(
    request: GeneralistRequest,
    model: SmallGeneralist,
    processor: Any,
    tasks: Sequence[DiagnosisTask],
    questions: Sequence[Question],
    progress: Told,
) -> Seen:
    """The features of every image, and the evidence for the words, cross-fitted over training patients."""
    trained = [(task, image) for task in tasks for image in task.train]
    known = [one.image.path for task in tasks for one in (*task.donors, *task.held_aside)]
    asked = list(dict.fromkeys(question.image for question in questions))
    paths = list(dict.fromkeys([*(image.path for _, image in trained), *known, *asked]))
    rows = {path: row for row, path in enumerate(paths)}
    features = torch.from_numpy(see(model, processor, paths, request.cache, progress))
    lesson = _lesson(request, tasks, rows)
    standardise(model.projector, features[lesson.rows])
    evidence = learn_words(
        model.projector,
        features,
        lesson,
        epochs=request.recipe.word_epochs,
        seed=request.seed,
        progress=progress,
    )
    return Seen(rows, features, evidence)


def _lesson(request: GeneralistRequest, tasks: Sequence[DiagnosisTask], rows: dict[Path, int]) -> Lesson:
    words = [(task.module, label) for task in tasks for label in task.labels]
    places = {word: place for place, word in enumerate(words)}
    trained = [(task, image) for task in tasks for image in task.train]
    shares = torch.zeros(len(trained), len(words))
    for row, (task, image) in enumerate(trained):
        for label in image.labels:
            shares[row, places[task.module, label]] = 1 / len(image.labels)
    patients = sorted({image.group for _, image in trained})
    shuffled = torch.randperm(len(patients), generator=torch.Generator().manual_seed(request.seed))
    fold = {patients[i]: n % request.recipe.folds for n, i in enumerate(shuffled.tolist())}
    return Lesson(
        torch.tensor([rows[image.path] for _, image in trained]),
        shares,
        torch.tensor([fold[image.group] for _, image in trained]),
    )


def _taught(
    request: GeneralistRequest,
    model: SmallGeneralist,
    writer: Writer,
    seen: Seen,
    tasks: Sequence[DiagnosisTask],
    questions: Sequence[Question],
    progress: Told,
) -> list[Figure]:
    """Teach ``model``, leave it as it was in its best round, and return the figures of that round."""
    sampler = Sampler(tasks, questions, request.mixture, request.seed)
    teacher = Teacher(model, writer, sampler, request.recipe, request.seed)
    best, kept = -1.0, copy.deepcopy(model.state_dict())
    for taught in teacher.rounds(seen, progress):
        figures = list(measure(model, writer, seen, tasks, [Mode.MOED_RAD], most=_QUICKLY))
        mean = sum(figure.macro_f1 for figure in figures) / len(figures)
        progress(taught.samples, request.recipe.samples, f"{taught}\n{as_table(figures)}")
        if mean > best:
            best, kept = mean, copy.deepcopy(model.state_dict())
            write_model(
                request.out, model, writer.processor
            )  # so that nothing is lost if the training is ended
    model.load_state_dict(kept)
    model.config.arbiters = list(fit_arbiters(model, writer, seen, tasks))
    return [*specialists_alone(tasks), *measure(model, writer, seen, tasks)]
