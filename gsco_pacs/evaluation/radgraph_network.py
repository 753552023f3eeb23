"""RadGraph's entities and relations of a report, from a published checkpoint by path (Jain et al. 2021; XL: Delbrouck et al. 2024).

The network is DyGIE++'s (Wadden et al. 2019) without coreference: a transformer reads the words, every run of words up to
a width is a span, each span gets a label or none, and the likeliest spans are related pairwise.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoTokenizer

from gsco_pacs.adapters.checkpoints import NUMBERS_ONLY
from gsco_pacs.evaluation.checkpoint_files import below, need, published, weights

WEIGHTS, SETTINGS, VOCABULARY, TRANSFORMER = "weights.th", "config.json", "vocabulary", "transformer"
_ENCODER = "_embedder.token_embedder_bert._matched_embedder.transformer_model."
_WIDTHS = "_endpoint_span_extractor._span_width_embedding.weight"


@dataclass(frozen=True)
class Entity:
    """A run of words with a label, and what it is related to."""

    tokens: str
    label: str
    relations: tuple[tuple[str, int], ...] = ()
    """(kind, place of the other entity in the report's entities)."""


class RadGraphNetwork:
    """Reads one report at a time."""

    def __init__(self, folder: Path) -> None:
        """``folder``: the published archive, unpacked, and transformer/ with its base model's config.json and tokenizer."""
        need(folder, "RadGraph", WEIGHTS, SETTINGS, VOCABULARY, TRANSFORMER)
        with published(folder, "RadGraph"):
            self._load(folder)

    def _load(self, folder: Path) -> None:
        model = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["model"]
        if model["modules"]["coref"].get("coref_prop", 0):
            raise ValueError("spans that coreference changes are not supported")
        (named,) = (folder / VOCABULARY).glob("*__ner_labels.txt")
        self.dataset = named.name.removesuffix("__ner_labels.txt")
        self._labels = _lines(named)
        self._kinds = _lines(folder / VOCABULARY / f"{self.dataset}__relation_labels.txt")
        self._width = int(model["max_span_width"])
        self._spans_per_word = float(model["modules"]["relation"]["spans_per_word"])
        self._longest = model["embedder"]["token_embedders"]["bert"].get("max_length") or math.inf
        kept = weights(folder / WEIGHTS)
        self._tokenizer = AutoTokenizer.from_pretrained(folder / TRANSFORMER, **NUMBERS_ONLY)
        config = AutoConfig.from_pretrained(folder / TRANSFORMER, **NUMBERS_ONLY)
        self._encoder = AutoModel.from_config(config, trust_remote_code=False).eval()
        self._encoder.load_state_dict(below(_ENCODER, kept))
        self._widths = kept[_WIDTHS]
        self._label = _scorer(kept, f"_ner._ner_scorers.{self.dataset}__ner_labels.")
        relation, names = "_relation.", f"{self.dataset}__relation_labels"
        self._mention = _scorer(kept, f"{relation}_mention_pruners.{names}._scorer.")
        self._pair = _layers(below(f"{relation}_relation_feedforwards.{names}.", kept))
        self._kind = _linear(below(f"{relation}_relation_scorers.{names}.", kept))

    @torch.inference_mode()
    def read(self, words: Sequence[str]) -> tuple[Entity, ...]:
        """The entities of a report's ``words``, in their order."""
        if not words:
            return ()
        ends = [
            (a, b) for a in range(len(words)) for b in range(a, min(a + self._width, len(words)))
        ]  # both inclusive
        spans = self._spans(self._vectors(words), torch.tensor(ends))
        scores = self._label(spans)
        labels = torch.cat([scores.new_zeros(len(ends), 1), scores], 1).argmax(1).tolist()
        found = {end: self._labels[label] for end, label in zip(ends, labels, strict=True) if label}
        places = {end: place for place, end in enumerate(found)}
        relations = self._relations(spans, ends, len(words))
        return tuple(
            Entity(
                " ".join(words[a : b + 1]),
                label,
                tuple(
                    (kind, places[to]) for start, to, kind in relations if start == (a, b) and to in places
                ),
            )
            for (a, b), label in found.items()
        )

    def _vectors(self, words: Sequence[str]) -> Tensor:
        """One row a word: the mean over its pieces; long texts are read in parts, as when it was trained."""
        pieces = [self._tokenizer.encode(word, add_special_tokens=False) for word in words]
        flat = [piece for word in pieces for piece in word]
        room = int(min(self._longest - 2, max(len(flat), 1)))
        parts = [flat[n : n + room] for n in range(0, len(flat), room)]
        begin, end = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        read = [
            self._encoder(torch.tensor([[begin, *part, end]])).last_hidden_state[0, 1:-1] for part in parts
        ]
        rows = torch.cat(read) if read else torch.zeros(0, self._encoder.config.hidden_size)
        own = torch.split(rows, [len(word) for word in pieces])
        return torch.stack([one.mean(0) if len(one) else rows.new_zeros(rows.shape[1]) for one in own])

    def _spans(self, vectors: Tensor, ends: Tensor) -> Tensor:
        first, last = ends.unbind(1)
        return torch.cat([vectors[first], vectors[last], self._widths[last - first]], 1)

    def _relations(
        self, spans: Tensor, ends: Sequence[tuple[int, int]], words: int
    ) -> list[tuple[tuple[int, int], tuple[int, int], str]]:
        mentions = self._mention(spans)
        keep = min(max(math.ceil(words * self._spans_per_word), 1), len(ends))
        kept = mentions[:, 0].topk(keep).indices.sort().values
        one, other = spans[kept][:, None].expand(-1, keep, -1), spans[kept][None].expand(keep, -1, -1)
        scores = self._kind(self._pair(torch.cat([one, other, one * other], 2)))
        scores = scores + mentions[kept][:, None] + mentions[kept][None]
        kinds = torch.cat([scores.new_zeros(keep, keep, 1), scores], 2).argmax(2)
        own = [ends[place] for place in kept.tolist()]
        return [(own[a], own[b], self._kinds[int(kinds[a, b]) - 1]) for a, b in kinds.nonzero().tolist()]


_Module = Callable[[Tensor], Tensor]


def _scorer(kept: dict[str, Tensor], prefix: str) -> _Module:
    hidden = _layers(below(f"{prefix}0._module.", kept))
    last = _linear(below(f"{prefix}1._module.", kept))
    return lambda rows: last(hidden(rows))


def _layers(kept: dict[str, Tensor]) -> _Module:
    """Linear layers, each with a ReLU behind it."""
    numbers = sorted({int(name.split(".")[1]) for name in kept})
    layers = [_linear(below(f"_linear_layers.{number}.", kept)) for number in numbers]

    def through(rows: Tensor) -> Tensor:
        for layer in layers:
            rows = layer(rows).relu()
        return rows

    return through


def _linear(kept: dict[str, Tensor]) -> _Module:
    return lambda rows: functional.linear(rows, kept["weight"], kept["bias"])


def _lines(path: Path) -> list[str]:
    """A label a line; the first label may be the empty one."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
