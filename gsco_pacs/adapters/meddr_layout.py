"""The published layout of MedDr (InternVL-Chat 1.2) and the same model in transformers' words: configuration and keys."""

import json
import re
from pathlib import Path
from typing import Any

from transformers import (
    GenerationConfig,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLVisionConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from gsco_pacs.adapters.converted import MARKS, STRETCHED
from gsco_pacs.adapters.meddr_tokenizer import CONTEXT_TOKEN, END_OF_TURN
from gsco_pacs.domain.errors import ConfigError

CHAT_TEMPLATE = (
    "<|im_start|>system\nAnswer the questions.<|im_end|>"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The published "Hermes-2" string; the processor puts <img> and </img> and the right number of tokens round a picture."""

_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_BICUBIC = 3
_EXPECTED = {"model_type": "internvl_chat", "template": "Hermes-2", "pad2square": False}
_LLAMA = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "hidden_act",
    "attention_bias", "bos_token_id", "initializer_range",
)  # fmt: skip
_VISION = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps",
    "patch_size", "num_channels", "initializer_range",
)  # fmt: skip
_OUTSIDE_LAYERS = {
    "vision_model.embeddings.class_embedding": "model.vision_tower.embeddings.cls_token",
    "vision_model.embeddings.position_embedding": "model.vision_tower.embeddings.position_embeddings",
    "vision_model.embeddings.patch_embedding.": "model.vision_tower.embeddings.patch_embeddings.projection.",
    "mlp1.0.": "model.multi_modal_projector.layer_norm.",
    "mlp1.1.": "model.multi_modal_projector.linear_1.",
    "mlp1.3.": "model.multi_modal_projector.linear_2.",
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
}
_IN_LAYERS = {
    "attn.qkv.": "attention.{}_proj.",
    "attn.proj.": "attention.projection_layer.",
    "attn.q_norm.": "attention.q_norm.",
    "attn.k_norm.": "attention.k_norm.",
    "norm1.": "layernorm_before.",
    "norm2.": "layernorm_after.",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    "mlp.": "mlp.",
}
_LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.(.+)")


def converted_keys(key: str) -> tuple[str, ...]:
    """Where the tensor ``key`` goes: one key, three for a fused qkv (split along the first axis), none if unknown."""
    in_layer = _LAYER.fullmatch(key)
    if in_layer is None:
        return tuple(
            new + key.removeprefix(old) for old, new in _OUTSIDE_LAYERS.items() if key.startswith(old)
        )
    number, rest = in_layer.groups()
    for old, new in _IN_LAYERS.items():
        if rest.startswith(old):
            target = f"model.vision_tower.encoder.layer.{number}.{new}{rest.removeprefix(old)}"
            return tuple(target.format(part) for part in "qkv") if "{}" in target else (target,)
    return ()


def read_source_config(source: Path) -> dict[str, Any]:
    """config.json of the published checkpoint; ConfigError if it is another model, or one prepared in another way."""
    try:
        config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source} is not a checkpoint: config.json cannot be read.") from error
    for key, expected in _EXPECTED.items():
        if config.get(key, expected) != expected:
            raise ConfigError(f"{source}: {key} is {config[key]!r}; only {expected!r} can be converted.")
    language = (config.get("llm_config") or {}).get("model_type", "llama")
    if language != "llama":
        raise ConfigError(f"{source}: the language model is a {language}; only llama can be converted.")
    return config


def converted_config(source: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Any:
    """The same model for transformers, with the marks of what its class would do otherwise."""
    text, vision = source["llm_config"], source["vision_config"]
    size = source.get("force_image_size") or vision["image_size"]
    ratio = source.get("downsample_ratio", 0.5)
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    marks: dict[str, Any] = {"pixel_shuffle": source.get("ps_version", "v1"), "pictures": 1, **STRETCHED}
    settings: dict[str, Any] = {
        "image_token_id": tokenizer.convert_tokens_to_ids(CONTEXT_TOKEN),
        MARKS: marks,
    }
    return InternVLConfig(
        architectures=["InternVLForConditionalGeneration"],
        dtype=source.get("torch_dtype", "bfloat16"),
        text_config=LlamaConfig(**_only(text, _LLAMA), eos_token_id=end, pad_token_id=None),
        vision_config=InternVLVisionConfig(
            **_only(vision, _VISION),
            image_size=size,
            use_qk_norm=vision.get("qk_normalization", True),
            norm_type=vision.get("norm_type", "rms_norm"),
            attention_bias=vision.get("qkv_bias", False),
            use_absolute_position_embeddings=True,
            use_mean_pooling=True,
        ),
        image_seq_length=int((size // vision["patch_size"] * ratio) ** 2),
        downsample_ratio=ratio,
        vision_feature_layer=source.get("select_layer", -1),
        tie_word_embeddings=bool(text.get("tie_word_embeddings", False)),
        **settings,
    )


def _only(settings: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: settings[name] for name in names if settings.get(name) is not None}


def write_small_files(out: Path, config: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """Everything of the converted checkpoint but its weights."""
    height, width = config.vision_config.image_size
    config.save_pretrained(out)
    tokenizer.save_pretrained(out)
    GenerationConfig(
        bos_token_id=config.text_config.bos_token_id, eos_token_id=config.text_config.eos_token_id
    ).save_pretrained(out)
    look: dict[str, Any] = {
        "size": {"height": height, "width": width},
        "resample": _BICUBIC,
        "image_mean": _IMAGENET_MEAN,
        "image_std": _IMAGENET_STD,
        **STRETCHED,
    }
    GotOcr2ImageProcessorPil(**look).save_pretrained(out)
    settings = {"processor_class": "InternVLProcessor", "image_seq_length": config.image_seq_length}
    (out / "processor_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
