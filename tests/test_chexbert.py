"""CheXbert's published layout loads from a path and is read head by head; the weights here are tiny and made up."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.evaluation.chexbert import CHECKPOINT, CONDITIONS, CheXbert
from gsco_pacs.evaluation.text_metrics import text_figures

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "effusion", "edema", "no", "there", "is", ".")


def write(folder: Path, *, prefix: str = "module.") -> Path:
    """A checkpoint as the authors' training wrote it: every head says its bias alone, whatever it reads."""
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        initializer_range=1.0,
    )
    folder.mkdir()
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    weights = {f"{prefix}bert.{name}": value for name, value in BertModel(config).state_dict().items()}
    for n in range(len(CONDITIONS)):
        size = 4 if n < 13 else 2
        weights[f"{prefix}linear_heads.{n}.weight"] = torch.zeros(size, 8)
        weights[f"{prefix}linear_heads.{n}.bias"] = torch.eye(4)[n % 4][:size]
    torch.save({"model_state_dict": weights}, folder / CHECKPOINT)
    return folder


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_positive_and_uncertain_heads_are_stated(tmp_path: Path, prefix: str) -> None:
    (found,) = CheXbert(write(tmp_path / "c", prefix=prefix)).stated(["There is no\neffusion."])
    assert found == {name for n, name in enumerate(CONDITIONS) if n % 4 in (1, 3)}


def test_the_heads_read_the_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "c")
    kept = torch.load(folder / CHECKPOINT, weights_only=True)
    torch.manual_seed(5)
    for n in range(13):
        kept["model_state_dict"][f"module.linear_heads.{n}.weight"] = 50 * torch.randn(4, 8)
    torch.save(kept, folder / CHECKPOINT)
    texts = ["effusion", "edema", "no edema", "there is effusion .", "is is is", "no no effusion ."]
    assert len(set(CheXbert(folder).stated(texts))) > 1


def test_agreement_is_measured_where_the_weights_are_given_and_only_there(tmp_path: Path) -> None:
    texts = ["There is effusion."]
    with_it = text_figures(texts, texts, {"CheXbert": CheXbert(write(tmp_path / "c"))})
    assert with_it["CheXbert micro-F1"] == with_it["CheXbert macro-F1"] == 1
    assert "CheXbert" not in with_it
    assert str(text_figures(texts, texts)["CheXbert"]).startswith("not measured")


def test_what_is_missing_or_of_another_kind_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "c")
    torch.save({"model_state_dict": {"something": torch.zeros(1)}}, folder / CHECKPOINT)
    with pytest.raises(ConfigError, match="not CheXbert's"):
        CheXbert(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(ConfigError, match=r"vocab\.txt"):
        CheXbert(folder)
