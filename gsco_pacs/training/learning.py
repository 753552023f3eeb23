"""The learning itself: loss, averaged weights, one epoch, and the choice of the best epoch."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics.rocauc import compute_roc_auc
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gsco_pacs.adapters.bundle_format import PrepareEntry
from gsco_pacs.adapters.network_input import batch
from gsco_pacs.adapters.networks import in_channels_last, last_linear
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.training.augmentation import Augmentation, augmented

BATCH_OF_EVALUATION = 32


@dataclass(frozen=True)
class Recipe:
    """How to learn; the defaults are for about a thousand images and a pre-trained start."""

    epochs: int = 16
    batch: int = 16
    learning_rate: float = 3e-4
    head_factor: float = 10.0
    """The last layer, which starts by chance, learns this many times faster."""
    weight_decay: float = 0.05
    warm_up: float = 0.1
    """Share of all steps in which the learning rate rises from 0; then it falls along a cosine."""
    average: float = 0.99
    """Decay per step of the running average of the weights, which is what is kept."""
    smoothing: float = 0.05


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures of one split in memory, [n, size, size] as bytes, and their targets, [n, labels]."""

    pictures: Tensor
    targets: Tensor

    def input(self, chosen: Tensor, prepare: PrepareEntry) -> Tensor:
        """Return the network's input for the ``chosen`` pictures, unchanged."""
        return batch(list(self.pictures[chosen].float() / 255), prepare.mean, prepare.std)


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought."""

    number: int
    loss: float
    macro_auc: float
    """On the validation split."""

    def __str__(self) -> str:
        return f"epoch {self.number}: loss {self.loss:.3f}, macro AUC on val {self.macro_auc:.3f}"


def multi_label_loss(positive_weight: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return binary cross-entropy in which a rare label's positives count more."""
    return lambda logits, wanted: functional.binary_cross_entropy_with_logits(
        logits, wanted, pos_weight=positive_weight
    )


def multi_class_loss(class_weight: Tensor, smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return cross-entropy with smoothed labels in which a rare class counts more."""
    return lambda logits, wanted: functional.cross_entropy(
        logits, wanted, weight=class_weight, label_smoothing=smoothing
    )


def balance(truth: NDArray[np.float32], most: float = 4.0) -> Tensor:
    """Return a weight for each label: the square root of negatives / positives, between 1 and ``most``."""
    positives = truth.sum(axis=0)
    ratio = (len(truth) - positives) / np.maximum(positives, 1)
    return torch.from_numpy(np.clip(np.sqrt(ratio), 1, most).astype(np.float32))


@torch.inference_mode()
def logits_of(network: nn.Module, examples: Examples, prepare: PrepareEntry) -> NDArray[np.float32]:
    """Return the network's outputs for all examples, [n, labels], with the network in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    chunks = torch.split(torch.arange(len(examples.pictures)), BATCH_OF_EVALUATION)
    outputs = [network(examples.input(chunk, prepare).to(device)).float().cpu() for chunk in chunks]
    return torch.cat(outputs).numpy()


def macro_auc(logits: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the mean area under the ROC curve over the labels that have both positives and negatives."""
    both = (truth.min(axis=0) < 0.5) & (truth.max(axis=0) > 0.5)
    areas = [_auc(logits[:, column], truth[:, column]) for column in np.flatnonzero(both)]
    return float(np.mean(areas)) if areas else float("nan")


def _auc(scores: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return float(compute_roc_auc(torch.from_numpy(scores), torch.from_numpy(truth)))  # type: ignore[arg-type]  # a float for one label


class Learner:
    """Trains one network and keeps its running average, all random choices drawn from one generator."""

    def __init__(
        self,
        network: nn.Module,
        frozen: tuple[nn.Module, ...],
        recipe: Recipe,
        prepare: PrepareEntry,
        random: torch.Generator,
        device: str = "cpu",
    ) -> None:
        self.network = in_channels_last(network).to(device)
        self._device = device
        self.averaged = copy.deepcopy(network)
        self._frozen, self._recipe, self._prepare, self._random = frozen, recipe, prepare, random
        self._steps = 0
        head = {id(parameter) for parameter in last_linear(network).parameters()}
        learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in learnt if id(p) not in head], "lr": recipe.learning_rate},
            {"params": [p for p in learnt if id(p) in head], "lr": recipe.learning_rate * recipe.head_factor},
        ]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)

    def epochs(
        self,
        train: Examples,
        loss: Callable[[Tensor, Tensor], Tensor],
        validate: Callable[[nn.Module], float],
        augmentation: Augmentation,
        progress: Told,
    ) -> Iterator[Epoch]:
        """Learn epoch by epoch; after each the averaged network is validated and the consumer may copy it."""
        steps = math.ceil(len(train.pictures) / self._recipe.batch) * self._recipe.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: self._pace(step, steps))
        for number in range(1, self._recipe.epochs + 1):
            losses = []
            shuffled = torch.randperm(len(train.pictures), generator=self._random)
            for chosen in torch.split(shuffled, self._recipe.batch):
                pictures = augmented(
                    train.pictures[chosen][:, None].float() / 255, augmentation, self._random
                )
                losses.append(self._step(pictures, train.targets[chosen], loss))
                schedule.step()
                progress(self._steps, steps, "")
            epoch = Epoch(number, float(np.mean(losses)), validate(self.averaged))
            progress(self._steps, steps, str(epoch))
            yield epoch

    def _pace(self, step: int, steps: int) -> float:
        rise = max(1, round(self._recipe.warm_up * steps))
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    def _step(self, pictures: Tensor, wanted: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> float:
        self.network.train()
        for module in self._frozen:
            module.eval()
        inputs = batch(list(pictures[:, 0]), self._prepare.mean, self._prepare.std)
        cost = loss(self.network(inputs.to(self._device)).cpu(), wanted)
        self._optimizer.zero_grad()
        torch.autograd.backward(cost)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._follow()
        return float(cost.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the network, faster in the first steps so that the start is forgotten."""
        self._steps += 1
        keep = min(self._recipe.average, self._steps / (self._steps + 9))
        for average, now in zip(
            self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if average.is_floating_point():
                average.lerp_(now, 1 - keep)
            else:
                average.copy_(now)
