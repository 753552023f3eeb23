"""RaTEScore of reports (Zhao et al. 2024), with its two networks and its table of weights given by path."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

from gsco_pacs.adapters.checkpoints import NUMBERS_ONLY
from gsco_pacs.evaluation.checkpoint_files import need, published
from gsco_pacs.grounding.labeller import sentences

ENTITIES, SYNONYMS, WEIGHTS = "ner", "synonyms", "long_weight.json"
_PRESENT, _ABSENT = {"DISEASE", "ABNORMALITY"}, {"NON-DISEASE", "NON-ABNORMALITY"}
_OTHERWISE = ("NEG", "WEIGHT")
"""What a match counts where one text affirms and the other denies."""
_NOTHING = 0.5
"""The score where one text names no entity."""


@dataclass(frozen=True, eq=False)
class Named:
    """The entities of a report."""

    kinds: tuple[str, ...]
    vectors: Tensor
    """[entities, features], each of length 1."""


class RaTEScore:
    """Compares the entities of reports by meaning, kind, and whether they are there."""

    def __init__(self, folder: Path) -> None:
        """``folder``: ner/ (RaTE-NER-Deberta), synonyms/ (BioLORD-2023-C) and the authors' long_weight.json."""
        need(folder, "RaTEScore", ENTITIES, SYNONYMS, WEIGHTS)
        with published(folder, "RaTEScore"):
            ner, synonyms = folder / ENTITIES, folder / SYNONYMS
            self._ner_tokenizer = AutoTokenizer.from_pretrained(ner, **NUMBERS_ONLY)
            self._ner = AutoModelForTokenClassification.from_pretrained(ner, **NUMBERS_ONLY).eval()
            self._tokenizer = AutoTokenizer.from_pretrained(synonyms, **NUMBERS_ONLY)
            self._encoder = AutoModel.from_pretrained(synonyms, **NUMBERS_ONLY).eval()
            table = json.loads((folder / WEIGHTS).read_text(encoding="utf-8"))
            self._weights = {
                (a.upper(), b.upper()): float(value)
                for key, value in table.items()
                for a, b in [key.split("_")]
            }
        self.named: Callable[[str], Named] = cache(self._named)
        """The entities of a text; a reference is read once, however often it is compared."""

    def figures(self, said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """The mean over the reports."""
        scores = [
            score(self.named(one), self.named(other), self._weights)
            for one, other in zip(said, references, strict=True)
        ]
        return {"RaTEScore": float(np.mean(scores))}

    @torch.inference_mode()
    def _named(self, text: str) -> Named:
        found = [pair for sentence in sentences(text) for pair in self._entities(sentence)]
        if not found:
            return Named((), torch.zeros(0, 1))
        read = self._tokenizer(
            [words for words, _ in found], truncation=True, padding=True, max_length=30, return_tensors="pt"
        )
        vectors = self._encoder(read["input_ids"], read["attention_mask"]).last_hidden_state[:, 0]
        return Named(tuple(kind for _, kind in found), normalize(vectors, dim=1))

    def _entities(self, sentence: str) -> list[tuple[str, str]]:
        read = self._ner_tokenizer(sentence, truncation=True, max_length=512, return_tensors="pt")
        tokens = list(self._ner_tokenizer.convert_ids_to_tokens(read["input_ids"][0].tolist()))
        best = self._ner(read["input_ids"]).logits[0].argmax(1).tolist()
        labels = [self._ner.config.id2label[one] for one in best]
        inside = [label if 0 < n < len(labels) - 1 else "O" for n, label in enumerate(labels)]
        text = self._ner_tokenizer.convert_tokens_to_string
        return [(text(tokens[first:past]), kind) for first, past, kind in runs(inside)]


def runs(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first, past the last, kind) of each run of B- and I- labels; the first one says the kind."""
    begins = [n for n, label in enumerate(labels) if label.startswith("B-")]
    found = []
    for first, limit in pairwise([*begins, len(labels)]):
        past = first + 1
        while past < limit and labels[past].startswith("I-"):
            past += 1
        found.append((first, past, labels[first][2:]))
    return found


def score(said: Named, reference: Named, weights: dict[tuple[str, str], float]) -> float:
    """Harmonic mean of both directions."""
    if not said.kinds or not reference.kinds:
        return _NOTHING
    one, other = _matched(reference, said, weights), _matched(said, reference, weights)
    return 2 * one * other / (one + other) if one + other else 0.0


def _matched(own: Named, other: Named, weights: dict[tuple[str, str], float]) -> float:
    """The weighted mean similarity of each own entity to its nearest in the other report."""
    near, places = (own.vectors @ other.vectors.T).max(1)
    pairs = [(kind, other.kinds[place]) for kind, place in zip(own.kinds, places.tolist(), strict=True)]
    counted = np.array([weights[pair] for pair in pairs])
    denied = np.array([weights[_OTHERWISE] if _contrary(*pair) else 1.0 for pair in pairs])
    return float(counted @ (denied * near.numpy()) / counted.sum()) if counted.sum() else 0.0


def _contrary(one: str, other: str) -> bool:
    return (one in _PRESENT and other in _ABSENT) or (one in _ABSENT and other in _PRESENT)
