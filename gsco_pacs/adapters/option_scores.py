"""How likely a language model finds each option as its answer: from one reading of the prompt, not by letting it write."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gsco_pacs.domain.findings import Briefing


def option_scores(
    model: Any, tokenizer: Any, inputs: Mapping[str, Tensor], briefing: Briefing
) -> dict[str, float]:
    """Option -> probability, after the encoded prompt ``inputs`` (one row).

    Where exactly one option applies: the likelihood of each as the beginning of the answer, together 1. Else each
    for itself: the answer "<option>: yes" against "<option>: no", compared where the two first differ. A model that
    weighs them against the numbers of an ``options`` briefing (ours: ``weighed``) does so.
    """
    options = briefing.options
    prompt = (_EncoderPrompt if model.config.is_encoder_decoder else _Prompt)(model, inputs)
    if briefing.single:
        rows = [_tokens(tokenizer, option) for option in options]
        after = prompt.next_tokens([row[:-1] for row in rows])
        found = [
            torch.stack([said[i, token] for i, token in enumerate(row)]).sum()
            for row, said in zip(rows, after, strict=True)
        ]
    else:
        asked = [yes_or_no(tokenizer, option) for option in options]
        after = prompt.next_tokens([shared for shared, _, _ in asked])
        found = [said[-1, yes] - said[-1, no] for (_, yes, no), said in zip(asked, after, strict=True)]
    odds = torch.stack(found).cpu()
    if briefing.by_likelihood and hasattr(model, "weighed"):
        odds = model.weighed(briefing.prompt, inputs, options, odds, single=briefing.single)
    scores = odds.softmax(0) if briefing.single else odds.sigmoid()
    return dict(zip(options, scores.tolist(), strict=True))


def likeliest(briefing: Briefing, scores: Mapping[str, float]) -> str:
    """The answer that the scores amount to: the likeliest option, or all findings that are likelier there than not."""
    findings = {option: score for option, score in scores.items() if option != briefing.normal}
    if briefing.single:
        return max(scores, key=lambda option: scores[option])
    named = [option for option, score in findings.items() if score >= 0.5]
    return ",".join(named) or briefing.normal or max(scores, key=lambda option: scores[option])


def yes_or_no(tokenizer: Any, option: str) -> tuple[list[int], int, int]:
    """The tokens that "<option>: yes" and "<option>: no" begin with in common, and the first that differs in each."""
    yes, no = (_tokens(tokenizer, f"{option}: {word}") for word in ("yes", "no"))
    shared = next(i for i, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b)
    return yes[:shared], yes[shared], no[shared]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


class _Prompt:
    """A prompt that has been read: the keys and values of all layers, and what may come next."""

    def __init__(self, model: Any, inputs: Mapping[str, Tensor]) -> None:
        self._model = model
        self._last = {"logits_to_keep": 1} if _keeps_logits(model) else {}
        read = model(**inputs, use_cache=True, **self._last)
        self._first = read.logits[0, -1:].float().log_softmax(-1)
        self._cache = read.past_key_values

    def next_tokens(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """For each row of tokens the log-probabilities of the token after the prompt and after each of its tokens.

        Rows of one length are read together, so that nothing has to be padded.
        """
        found: dict[int, Tensor] = {}
        for length in {len(row) for row in rows}:
            places = [place for place, row in enumerate(rows) if len(row) == length]
            read = (
                self._read([list(rows[place]) for place in places])
                if length
                else [self._first[:0]] * len(places)
            )
            found |= dict(zip(places, read, strict=True))
        return [torch.cat([self._first, found[place]]) for place in range(len(rows))]

    def _read(self, rows: list[list[int]]) -> list[Tensor]:
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(rows))
        tokens = torch.tensor(rows, device=self._first.device)
        read = self._model(input_ids=tokens, past_key_values=cache, use_cache=True)
        return list(read.logits.float().log_softmax(-1))


class _EncoderPrompt:
    """The same for an encoder and a decoder: the answer has a row of its own, so there is no cache to share."""

    def __init__(self, model: Any, inputs: Mapping[str, Tensor]) -> None:
        self._model, self._inputs = model, inputs
        self._start = model.generation_config.decoder_start_token_id

    def next_tokens(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """As above, one row after the other."""
        return [self._read([self._start, *row]) for row in rows]

    def _read(self, row: list[int]) -> Tensor:
        tokens = torch.tensor([row], device=self._inputs["input_ids"].device)
        read: Tensor = self._model(**self._inputs, decoder_input_ids=tokens).logits
        return read[0].float().log_softmax(-1)


def _keeps_logits(model: Any) -> bool:
    return "logits_to_keep" in inspect.signature(model.forward).parameters
