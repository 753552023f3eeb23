"""Tiny made-up checkpoints in the published layouts of the report measures; the weights are random, the names are real."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2ForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *[
        "a",
        "b",
        "there",
        "is",
        "no",
        "small",
        "left",
        "right",
        "pleural",
        "effusion",
        "edema",
        "lung",
        "heart",
        "normal",
        ",",
        ".",
        "/",
        "(",
        ")",
        ":",
        "%",
    ],
    "##s",
)
LABELS = (
    "",
    "Observation::definitely present",
    "Observation::definitely absent",
    "Anatomy::definitely present",
)
KINDS = ("modify", "located_at", "suggestive_of")
RATE_KINDS = ("ABNORMALITY", "NON-ABNORMALITY", "DISEASE", "NON-DISEASE", "ANATOMY")
REPORTS = (
    "There is a small left pleural effusion. No edema.",
    "The heart is normal (lung: normal). No pleural effusion, no edema.",
    "Small effusions / right lung. 50%. There is no left effusion",
)
_SIZE, _WIDTH, _FEATURES, _HIDDEN = 16, 5, 4, 8


def bert(folder: Path) -> BertConfig:
    """config.json and vocab.txt of a small BERT."""
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=_SIZE,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=_SIZE,
        max_position_embeddings=64,
        initializer_range=1.0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join((*SPECIAL, *WORDS)))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer", "do_lower_case": true}'
    )
    return config


def radgraph(folder: Path, dataset: str = "radgraph-xl", *, longest: int = 12) -> Path:
    """What the published archive holds, and transformer/ beside it; a module as a whole is on or off by its bias alone."""
    torch.manual_seed(3)
    encoder = BertModel(bert(folder / "transformer"))
    span, ner, relation = 2 * _SIZE + _FEATURES, f"{dataset}__ner_labels", f"{dataset}__relation_labels"
    kept = {
        f"_embedder.token_embedder_bert._matched_embedder.transformer_model.{name}": value
        for name, value in encoder.state_dict().items()
    }
    kept["_endpoint_span_extractor._span_width_embedding.weight"] = torch.randn(_WIDTH, _FEATURES)
    kept |= _stack(f"_ner._ner_scorers.{ner}.0._module.", span) | _line(
        f"_ner._ner_scorers.{ner}.1._module.", 3
    )
    pruner = f"_relation._mention_pruners.{relation}._scorer."
    kept |= _stack(f"{pruner}0._module.", span) | _line(f"{pruner}1._module.", 1)
    kept |= _stack(f"_relation._relation_feedforwards.{relation}.", 3 * span)
    kept |= _line(f"_relation._relation_scorers.{relation}.", len(KINDS))
    torch.save(kept, folder / "weights.th")
    (folder / "vocabulary").mkdir()
    for name, lines in ((ner, LABELS), (relation, KINDS), ("non_padded_namespaces", ("*tags", "*labels"))):
        (folder / "vocabulary" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "config.json").write_text(json.dumps(_settings(str(folder / "transformer"), longest)))
    return folder


def _settings(transformer: str, longest: int) -> dict[str, object]:
    reader = {"model_name": transformer, "max_length": longest}
    modules = {
        "ner": {},
        "relation": {"spans_per_word": 0.5},
        "coref": {"spans_per_word": 0.3, "coref_prop": 0},
        "events": {"trigger_spans_per_word": 0.3, "argument_spans_per_word": 0.8},
    }
    model = {
        "type": "dygie",
        "embedder": {"token_embedders": {"bert": reader}},
        "initializer": {},
        "module_initializer": {},
        "modules": modules,
        "feature_size": _FEATURES,
        "max_span_width": _WIDTH,
        "target_task": "relation",
        "feedforward_params": {"num_layers": 2, "hidden_dims": _HIDDEN, "dropout": 0.4},
        "loss_weights": {"ner": 0.2, "relation": 1.0, "coref": 0.0, "events": 0.0},
    }
    return {"dataset_reader": {"max_span_width": _WIDTH, "token_indexers": {"bert": reader}}, "model": model}


def _stack(prefix: str, size: int) -> dict[str, Tensor]:
    """Two linear layers as AllenNLP names them."""
    layers = nn.Linear(size, _HIDDEN), nn.Linear(_HIDDEN, _HIDDEN)
    return {
        f"{prefix}_linear_layers.{n}.{name}": 3 * value.detach()
        for n, layer in enumerate(layers)
        for name, value in layer.state_dict().items()
    }


def _line(prefix: str, size: int) -> dict[str, Tensor]:
    layer = nn.Linear(_HIDDEN, size)
    return {f"{prefix}{name}": value.detach() for name, value in layer.state_dict().items()}


def roberta(folder: Path) -> Path:
    """A small model in distilroberta-base's layout: six layers, pieces of bytes."""
    learnt = ByteLevelBPETokenizer()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learnt.train_from_iterator(REPORTS, vocab_size=300, special_tokens=marks)
    folder.mkdir()
    learnt.save_model(str(folder))
    tokenizer = RobertaTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=128
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_SIZE,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=_SIZE,
        max_position_embeddings=130,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


def ratescore(folder: Path) -> Path:
    """A token classifier, an encoder, and a table of weights."""
    labels = ["O", *(f"{mark}-{kind}" for kind in RATE_KINDS for mark in "BI")]
    size: dict[str, Any] = {
        "hidden_size": _SIZE,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": _SIZE,
    }
    torch.manual_seed(6)
    tokens = _word_tokenizer(folder / "ner")
    config = DebertaV2Config(
        vocab_size=tokens,
        id2label=dict(enumerate(labels)),
        label2id={b: a for a, b in enumerate(labels)},
        initializer_range=1.0,
        **size,
    )
    DebertaV2ForTokenClassification(config).save_pretrained(folder / "ner")
    _word_tokenizer(folder / "synonyms")
    MPNetModel(MPNetConfig(vocab_size=tokens, pad_token_id=0, initializer_range=1.0, **size)).save_pretrained(
        folder / "synonyms"
    )
    pairs = {f"{a}_{b}".lower(): 0.1 + n / 30 for n, (a, b) in enumerate(product(RATE_KINDS, repeat=2))}
    (folder / "long_weight.json").write_text(json.dumps(pairs | {"neg_weight": 0.4}))
    return folder


def green(folder: Path) -> Path:
    """A small Llama in the published model's layout."""
    tokens = _word_tokenizer(folder)
    torch.manual_seed(8)
    config = LlamaConfig(
        vocab_size=tokens,
        hidden_size=_SIZE,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=_SIZE,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _word_tokenizer(folder: Path) -> int:
    """A tokenizer with a word a token; gives its size."""
    vocabulary = {word: n for n, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="[SEP]", **{f"{name}_token": mark for name, mark in names.items()}
    ).save_pretrained(folder)
    return len(vocabulary)
