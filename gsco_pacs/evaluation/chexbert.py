"""CheXbert's labels of a report, from the published checkpoint given by path (Smit et al. 2020); nothing is downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, BertModel, BertTokenizer

from gsco_pacs.domain.errors import ConfigError

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

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """One row of logits for each head."""
        first = self.bert(tokens).last_hidden_state[:, 0]
        return [head(first) for head in self.linear_heads]


class CheXbert:
    """Says which conditions a report states or suspects."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds chexbert.pth and, of bert-base-uncased, config.json and vocab.txt; ConfigError if not."""
        missing = [n for n in (CHECKPOINT, "config.json", "vocab.txt") if not (folder / n).is_file()]
        if missing:
            raise ConfigError(f"{folder}: {', '.join(missing)} is missing for CheXbert.")
        self._tokenizer = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
        self._model = _Labeler(AutoConfig.from_pretrained(folder)).eval()
        try:
            kept = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)["model_state_dict"]
            weights = {name.removeprefix("module."): value for name, value in kept.items()}
            # Older files also hold the positions' numbers, which the network makes itself.
            self._model.load_state_dict({k: v for k, v in weights.items() if not k.endswith("position_ids")})
        except (KeyError, RuntimeError, AttributeError) as error:
            raise ConfigError(f"{folder / CHECKPOINT} is not CheXbert's checkpoint: {error}") from error

    def stated(self, texts: Sequence[str]) -> list[frozenset[str]]:
        """For each text the conditions that are positive or uncertain."""
        return [self._stated(text) for text in texts]

    @torch.inference_mode()
    def _stated(self, text: str) -> frozenset[str]:
        words = " ".join(text.split())
        read = self._tokenizer(words, truncation=True, max_length=_LONGEST, return_tensors="pt")
        classes = [int(logits.argmax()) for logits in self._model(read["input_ids"])]
        pairs = zip(CONDITIONS, classes, strict=True)
        return frozenset(name for name, found in pairs if found in (_POSITIVE, _UNCERTAIN))
