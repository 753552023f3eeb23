"""From samples to batches: tokens, who may look back at what, and which next tokens count."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gsco_pacs.adapters.option_scores import yes_or_no
from gsco_pacs.adapters.small_generalist import SmallGeneralist
from gsco_pacs.training.eyes import Seen
from gsco_pacs.training.generalist_samples import Sample

_PREFIX = -1
_SEVERAL, _POSITIVE, _TEXT = 3.0, 2.0, 2.0
"""What a sample with several yes and no weighs, a yes beside a no, and a text, where one option weighs 1."""


@dataclass(frozen=True)
class Pick:
    """A token that should (or may) follow a place of a segment; place -1 is the end of the prompt."""

    segment: int
    place: int
    token: int
    weight: float = 1.0


@dataclass(frozen=True)
class Written:
    """A prompt and its continuations in tokens; the continuations don't see each other."""

    image: int | None
    """Row of the picture."""
    prompt: tuple[int, ...]
    segments: tuple[tuple[int, ...], ...]
    picks: tuple[Pick, ...]

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + sum(map(len, self.segments))


class Writer:
    """Turns samples into tokens with the processor that the node uses."""

    def __init__(self, processor: Any, rows: dict[Any, int]) -> None:
        self.processor, self._tokenizer, self._rows = processor, processor.tokenizer, rows

    def taught(self, sample: Sample) -> Written:
        """``sample`` with the tokens of the right answer as the picks."""
        if sample.options and not sample.single:
            asked = [yes_or_no(self._tokenizer, option) for option in sample.options]
            weights = [_POSITIVE if option in sample.answer else 1.0 for option in sample.options]
            share = _SEVERAL / sum(weights)
            picks = tuple(
                Pick(n, len(shared) - 1, yes if option in sample.answer else no, weight * share)
                for n, (option, (shared, yes, no), weight) in enumerate(
                    zip(sample.options, asked, weights, strict=True)
                )
            )
            segments = tuple(tuple(shared) for shared, _, _ in asked)
            return Written(self._row(sample), self._prompt(sample), segments, picks)
        text = self._tokens(sample.answer[0])
        tokens = (*text, self._tokenizer.eos_token_id)
        weight = (1.0 if sample.options else _TEXT) / len(tokens)
        picks = tuple(Pick(0, place - 1, token, weight) for place, token in enumerate(tokens))
        return Written(self._row(sample), self._prompt(sample), (text,), picks)

    def compared(self, sample: Sample) -> Written:
        """``sample`` with all options, to be scored: every token of each, or yes and no in turns."""
        if sample.single:
            segments = tuple(self._tokens(option) for option in sample.options)
            picks = tuple(
                Pick(n, place - 1, token)
                for n, segment in enumerate(segments)
                for place, token in enumerate(segment)
            )
        else:
            asked = [yes_or_no(self._tokenizer, option) for option in sample.options]
            segments = tuple(tuple(shared) for shared, _, _ in asked)
            picks = tuple(
                Pick(n, len(shared) - 1, token) for n, (shared, *both) in enumerate(asked) for token in both
            )
        return Written(self._row(sample), self._prompt(sample), segments, picks)

    def _row(self, sample: Sample) -> int | None:
        return None if sample.image is None else self._rows[sample.image]

    def _prompt(self, sample: Sample) -> tuple[int, ...]:
        picture = [] if sample.image is None else [{"type": "image"}]
        turn = {"role": "user", "content": [*picture, {"type": "text", "text": sample.prompt}]}
        text = self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        image = self.processor.image_token
        return self._tokens(text.replace(image, image * self.processor.image_tokens))

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def batches(written: Iterable[Written], tokens: int) -> list[list[Written]]:
    """``written`` in batches of about ``tokens`` tokens each, alike in length."""
    made: list[list[Written]] = []
    for one in sorted(written, key=lambda one: one.length):
        if made and (len(made[-1]) + 1) * one.length <= tokens:
            made[-1].append(one)
        else:
            made.append([one])
    return made


def log_likelihoods(
    model: SmallGeneralist, batch: Sequence[Written], seen: Seen, blind: Tensor | None = None
) -> list[Tensor]:
    """For each of ``batch`` the log-likelihood of every pick; the cells of pictures that are ``blind`` are blanked."""
    length = max(one.length for one in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    places = torch.zeros_like(ids)
    owner = torch.full_like(ids, -1)
    at: list[tuple[int, int, int]] = []
    for row, one in enumerate(batch):
        start = len(one.prompt)
        ids[row, :start], places[row, :start], owner[row, :start] = (
            torch.tensor(one.prompt),
            torch.arange(start),
            0,
        )
        starts = []
        for number, segment in enumerate(one.segments, start=1):
            starts.append(start)
            end = start + len(segment)
            ids[row, start:end] = torch.tensor(segment, dtype=torch.long)
            places[row, start:end] = len(one.prompt) + torch.arange(len(segment))
            owner[row, start:end], start = number, end
        at += [
            (
                row,
                len(one.prompt) - 1 if pick.place == _PREFIX else starts[pick.segment] + pick.place,
                pick.token,
            )
            for pick in one.picks
        ]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = causal & ((owner[:, None] == 0) | (owner[:, None] == owner[:, :, None]))
    hidden = model.language(
        inputs_embeds=_embedded(model, ids, batch, seen, blind),
        attention_mask=mask[:, None], position_ids=places, use_cache=False,
    ).last_hidden_state  # fmt: skip
    rows, columns, tokens = (torch.tensor(column) for column in zip(*at, strict=True))
    logits = functional.linear(hidden[rows, columns], model.language.embed_tokens.weight)
    picked = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    return list(torch.split(picked, [len(one.picks) for one in batch]))


def _embedded(
    model: SmallGeneralist, ids: Tensor, batch: Sequence[Written], seen: Seen, blind: Tensor | None
) -> Tensor:
    rows = [one.image for one in batch if one.image is not None]
    if not rows:
        return model.embedded(ids, None)
    features = seen.features[rows].float()
    if blind is not None:
        features[blind[: len(rows)]] = model.projector.mean
    return model.embedded(ids, features, seen.evidence[rows])
