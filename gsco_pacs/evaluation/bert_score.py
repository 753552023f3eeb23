"""BERTScore of reports (Zhang et al. 2020), with distilroberta-base given by path and rescaled, as RadCliQ uses it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from gsco_pacs.adapters.checkpoints import NUMBERS_ONLY
from gsco_pacs.evaluation.checkpoint_files import need, published

LAYER = 5
"""Of distilroberta-base's six, the one that agrees best with people (bert-score's table)."""
BASELINE = 0.8473319
"""Mean F1 of unrelated English sentences at that layer (bert-score's rescale_baseline/en/distilroberta-base.tsv)."""


class BertScore:
    """Compares texts piece by piece, each piece with its nearest in the other text."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds distilroberta-base as Hugging Face's library saves it; ConfigError if not."""
        need(folder, "BERTScore", "config.json")
        with published(folder, "BERTScore"):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True, **NUMBERS_ONLY)
            self._model = AutoModel.from_pretrained(folder, **NUMBERS_ONLY).eval()

    def figures(self, said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """The mean over the reports."""
        pairs = zip(said, references, strict=True)
        return {"BERTScore": float(np.mean([self.score(one, other) for one, other in pairs]))}

    def score(self, said: str, reference: str) -> float:
        """F1 of the best matches, 0 where unrelated sentences lie and 1 for the same text; no weights by rarity."""
        (one, own), (other, others) = self._pieces(said), self._pieces(reference)
        raw = 0.0
        if own.any() and others.any():
            near = one @ other.T
            precision, recall = near.amax(1)[own].mean(), near.amax(0)[others].mean()
            raw = float(2 * precision * recall / (precision + recall))
        return (raw - BASELINE) / (1 - BASELINE)

    @torch.inference_mode()
    def _pieces(self, text: str) -> tuple[Tensor, Tensor]:
        """[pieces, features] of length 1, and which of them count: the marks at both ends may be matched but do not."""
        tokens = self._tokenizer(" ".join(text.split()), truncation=True, return_tensors="pt")["input_ids"]
        hidden = self._model(tokens, output_hidden_states=True).hidden_states[LAYER][0]
        ends = torch.tensor([self._tokenizer.cls_token_id, self._tokenizer.sep_token_id])
        return normalize(hidden, dim=1), ~torch.isin(tokens[0], ends)
