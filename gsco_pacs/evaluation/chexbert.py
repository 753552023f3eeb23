"""CheXbert's labels of a report, from the published checkpoint given by path (Smit et al. 2020); nothing is downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, BertModel, BertTokenizer

from gsco_pacs.adapters.checkpoints import NUMBERS_ONLY
from gsco_pacs.evaluation.checkpoint_files import below, need, published, weights
from gsco_pacs.evaluation.decisions import Decisions, table
from gsco_pacs.evaluation.text_metrics import micro_f1

CONDITIONS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip
CHECKPOINT = "chexbert.pth"
_POSITIVE, _UNCERTAIN = 1, 3
"""Classes of a head: 0 blank, 1 positive, 2 negative, 3 uncertain; the last head knows 0 and 1 only."""
_LONGEST = 512


class _Labeler(nn.Module):
    """BERT with a linear head for each condition on its first token; the names are the checkpoint's."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.bert = BertModel(config)
        sizes = [4] * (len(CONDITIONS) - 1) + [2]
        self.linear_heads = nn.ModuleList(nn.Linear(config.hidden_size, size) for size in sizes)

    def first(self, tokens: Tensor) -> Tensor:
        """What stands for the whole text: the last layer's first token."""
        found: Tensor = self.bert(tokens).last_hidden_state[:, 0]
        return found


class CheXbert:
    """Says which conditions a report states or suspects."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds chexbert.pth and, of bert-base-uncased, config.json and vocab.txt; ConfigError if not."""
        need(folder, "CheXbert", CHECKPOINT, "config.json", "vocab.txt")
        self._tokenizer = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
        with published(folder / CHECKPOINT, "CheXbert"):
            self._model = _Labeler(AutoConfig.from_pretrained(folder, **NUMBERS_ONLY)).eval()
            kept = weights(folder / CHECKPOINT)["model_state_dict"]
            parallel = "module." if all(name.startswith("module.") for name in kept) else ""
            self._model.load_state_dict(below(parallel, kept))

    def figures(self, said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """F1 of the conditions that ``said`` states against those of ``references``."""
        right, told = self.stated(references), self.stated(said)
        names = sorted(frozenset().union(*right, *told))
        decided = Decisions(table(right, names), table(told, names), single=False)
        macro = float(decided.macro_f1(np.ones((1, len(said))))[0])
        return {"CheXbert macro-F1": macro, "CheXbert micro-F1": micro_f1(decided)}

    def stated(self, texts: Sequence[str]) -> list[frozenset[str]]:
        """For each text the conditions that are positive or uncertain."""
        return [self._stated(text) for text in texts]

    @torch.inference_mode()
    def embedding(self, text: str) -> Tensor:
        """The vector that the heads read."""
        words = " ".join(text.split())
        read = self._tokenizer(words, truncation=True, max_length=_LONGEST, return_tensors="pt")
        return self._model.first(read["input_ids"])[0]

    @torch.inference_mode()
    def _stated(self, text: str) -> frozenset[str]:
        first = self.embedding(text)
        classes = [int(head(first).argmax()) for head in self._model.linear_heads]
        pairs = zip(CONDITIONS, classes, strict=True)
        return frozenset(name for name, found in pairs if found in (_POSITIVE, _UNCERTAIN))
