"""The learning itself: samples are drawn, read in batches, and what counts is the likelihood of the right answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.adapters.small_generalist import SmallGeneralist
from gsco_pacs.training.eyes import Seen
from gsco_pacs.training.generalist_batches import Writer, Written, batches, log_likelihoods
from gsco_pacs.training.generalist_samples import Sampler

_POOL = 256
"""Samples that are drawn at a time, so that batches can be made of samples of like length."""


@dataclass(frozen=True)
class Recipe:
    """How to learn; the defaults are for two CPU cores."""

    samples: int = 12000
    tokens: int = 1400
    """In one batch."""
    learning_rate: float = 6e-4
    projector_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: float = 0.05
    blinded: float = 0.25
    """Share of pictures whose cells are blanked, so that the words and the briefing are not ignored for them."""
    word_epochs: int = 8
    folds: int = 3
    rounds: int = 3
    """How often the model is measured, and kept if it is the best so far."""


@dataclass(frozen=True)
class Taught:
    """What has been learnt so far."""

    samples: int
    loss: float


class Teacher:
    """Trains the layers of the language model and the projector's tokens; embedding, eye and words stay."""

    def __init__(
        self, model: SmallGeneralist, writer: Writer, sampler: Sampler, recipe: Recipe, seed: int
    ) -> None:
        self._model, self._writer, self._recipe = model, writer, recipe
        self._samples = iter(sampler)
        self._random = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.requires_grad = False
        language = [*model.language.layers.parameters(), *model.language.norm.parameters()]
        projector = [*model.projector.first.parameters(), *model.projector.second.parameters()]
        projector += [model.projector.place, model.projector.scale]
        for parameter in (*language, *projector):
            parameter.requires_grad = True
        groups = [
            {"params": language, "lr": recipe.learning_rate},
            {"params": projector, "lr": recipe.projector_rate},
        ]
        self._learnt = [*language, *projector]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))

    def rounds(self, seen: Seen, progress: Told) -> Iterator[Taught]:
        """Learn ``recipe.samples`` samples in ``recipe.rounds`` parts, after each of which the consumer may measure."""
        done = 0
        for number in range(1, self._recipe.rounds + 1):
            until = self._recipe.samples * number // self._recipe.rounds
            losses: list[float] = []
            while done < until:
                pool = [
                    self._writer.taught(sample) for sample in islice(self._samples, min(_POOL, until - done))
                ]
                made = batches(pool, self._recipe.tokens)
                for place in torch.randperm(len(made), generator=self._random).tolist():
                    losses.append(self._step(made[place], seen, done))
                    done += len(made[place])
                    progress(done, self._recipe.samples, "")
            yield Taught(done, sum(losses) / len(losses))

    def _step(self, batch: list[Written], seen: Seen, done: int) -> float:
        self._pace(done / self._recipe.samples)
        blind = torch.rand(len(batch), generator=self._random) < self._recipe.blinded
        said = torch.cat(log_likelihoods(self._model, batch, seen, blind))
        weights = torch.tensor([pick.weight for one in batch for pick in one.picks])
        loss = -(said * weights).sum() / weights.sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._learnt, 1.0)
        self._optimizer.step()
        return float(loss.detach())

    def _pace(self, share: float) -> None:
        """Rises over the warm-up and then falls in a straight line."""
        warm = self._recipe.warm_up
        pace = share / warm if share < warm else (1 - share) / (1 - warm)
        rates = (self._recipe.learning_rate, self._recipe.projector_rate)
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * max(pace, 0.02)
