"""Checkpoints of every family in the Hugging Face format with random weights, a few hundred kilobytes each.

They prove that a family's configuration, processor, template and decoding work together; their words mean nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from gsco_pacs.adapters.small_generalist import SmallGeneralist, SmallGeneralistConfig
from gsco_pacs.adapters.small_processor import make_processor

_TEXT: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 4096, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None,
}  # fmt: skip
_EYE: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
_SIDE = {"height": 28, "width": 28}


def _template(image: str) -> str:
    """A chat template without a system role, as Gemma's: it refuses one."""
    return (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
        "{% if p['type'] == 'image' %}"
        + image
        + "{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}\n"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )


def _tokenizer(special: dict[str, str]) -> hf.PreTrainedTokenizerFast:
    """Bytes and special tokens, no padding token."""
    tokens = ["<bos>", "<eos>", *special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<bos>", eos_token="<eos>", extra_special_tokens=special
    )


def _without_video(folder: Path, processor: str, image: str, **settings: Any) -> None:
    """The files of a processor that cannot be built here, since its video part needs torchvision."""
    config = {"processor_class": processor, **settings}
    (folder / "processor_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(_template(image))


def gemma3(folder: Path) -> Any:
    tokenizer = _tokenizer({"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<img>"})
    images = hf.Gemma3ImageProcessorPil(size=_SIDE)
    hf.Gemma3Processor(
        images, tokenizer, chat_template=_template("<boi>"), image_seq_length=4
    ).save_pretrained(folder)
    return hf.Gemma3ForConditionalGeneration(
        hf.Gemma3Config(
            text_config=hf.Gemma3TextConfig(**_TEXT, head_dim=8),
            vision_config=hf.SiglipVisionConfig(**_EYE),
            mm_tokens_per_image=4, boi_token_index=2, eoi_token_index=3, image_token_index=4,
        )
    )  # fmt: skip


def llava(folder: Path) -> Any:
    images = hf.CLIPImageProcessorPil(size=_SIDE, crop_size=_SIDE)
    hf.LlavaProcessor(
        images, _tokenizer({"image_token": "<image>"}), patch_size=14, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=_template("<image>"),
    ).save_pretrained(folder)  # fmt: skip
    return hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(
            text_config=hf.LlamaConfig(**_TEXT),
            vision_config=hf.CLIPVisionConfig(**_EYE),
            image_token_index=2,
        )
    )


def qwen2_5_vl(folder: Path) -> Any:
    names = ("vision_start", "vision_end", "image_pad", "video_pad")
    _tokenizer({name: f"<|{name}|>" for name in names}).save_pretrained(folder)
    hf.Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56).save_pretrained(folder)
    _without_video(folder, "Qwen2_5_VLProcessor", "<|vision_start|><|image_pad|><|vision_end|>")
    return hf.Qwen2_5_VLForConditionalGeneration(
        hf.Qwen2_5_VLConfig(
            text_config={**_TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
            vision_config={"depth": 2, "hidden_size": 16, "out_hidden_size": 16, "num_heads": 2, "intermediate_size": 32},
            vision_start_token_id=2, vision_end_token_id=3, image_token_id=4, video_token_id=5,
        )
    )  # fmt: skip


def qwen3_vl(folder: Path) -> Any:
    names = ("vision_start", "vision_end", "image_pad", "video_pad")
    _tokenizer({name: f"<|{name}|>" for name in names}).save_pretrained(folder)
    hf.Qwen2VLImageProcessorPil(
        min_pixels=32 * 32, max_pixels=64 * 64, patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)
    _without_video(folder, "Qwen3VLProcessor", "<|vision_start|><|image_pad|><|vision_end|>")
    return hf.Qwen3VLForConditionalGeneration(
        hf.Qwen3VLConfig(
            text_config={**_TEXT, "head_dim": 8, "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]}},
            vision_config={"depth": 2, "hidden_size": 16, "out_hidden_size": 16, "num_heads": 2, "intermediate_size": 32,
                           "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
            vision_start_token_id=2, vision_end_token_id=3, image_token_id=4, video_token_id=5,
        )
    )  # fmt: skip


def llava_next(folder: Path) -> Any:
    """LLaVA 1.6: the picture is seen whole and in tiles."""
    images = hf.LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size=_SIDE, image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]]
    )
    hf.LlavaNextProcessor(
        images, _tokenizer({"image_token": "<image>"}), patch_size=14, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=_template("<image>"),
    ).save_pretrained(folder)  # fmt: skip
    return hf.LlavaNextForConditionalGeneration(
        hf.LlavaNextConfig(
            text_config=hf.LlamaConfig(**_TEXT), vision_config=hf.CLIPVisionConfig(**_EYE), image_token_index=2,
            image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        )
    )  # fmt: skip


def internvl(folder: Path) -> Any:
    special = {
        "start_image": "<img>",
        "end_image": "</img>",
        "context_image": "<IMG_CONTEXT>",
        "video": "<video>",
    }
    _tokenizer({f"{name}_token": token for name, token in special.items()}).save_pretrained(folder)
    hf.GotOcr2ImageProcessorPil(size=_SIDE, crop_to_patches=False).save_pretrained(folder)
    _without_video(folder, "InternVLProcessor", "<IMG_CONTEXT>", image_seq_length=1)
    eye = hf.InternVLVisionConfig(**{**_EYE, "image_size": [28, 28], "patch_size": [14, 14]})
    return hf.InternVLForConditionalGeneration(
        hf.InternVLConfig(
            text_config=hf.Qwen2Config(**_TEXT), vision_config=eye, image_token_id=4, image_seq_length=1
        )
    )


def idefics3(folder: Path) -> Any:
    tokens = {
        "image_token": "<image>",
        "fake": "<fake_token_around_image>",
        "end": "<end_of_utterance>",
        "all": "<global-img>",
    }
    side = {"longest_edge": 28}
    images = hf.Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    hf.Idefics3Processor(
        images, _tokenizer(tokens), image_seq_len=1, chat_template=_template("<image>")
    ).save_pretrained(folder)
    return hf.Idefics3ForConditionalGeneration(
        hf.Idefics3Config(
            text_config=hf.LlamaConfig(**_TEXT), vision_config=_EYE, image_token_id=2, scale_factor=2
        )
    )


def blip2(folder: Path) -> Any:
    """Without a chat template, and with an encoder and a decoder, so that its output holds no prompt."""
    images = hf.BlipImageProcessorPil(size=_SIDE)
    hf.Blip2Processor(images, _tokenizer({}), num_query_tokens=2).save_pretrained(folder)
    former = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 300,
    }
    t5 = {
        "vocab_size": 300,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        "eos_token_id": 1,
    }
    return hf.Blip2ForConditionalGeneration(
        hf.Blip2Config(
            vision_config=dict(_EYE), qformer_config={**former, "encoder_hidden_size": 16},
            text_config={"model_type": "t5", **t5, "decoder_start_token_id": 0}, num_query_tokens=2, image_token_index=258,
        )
    )  # fmt: skip


def gsco_small(folder: Path) -> Any:
    """Our own architecture, everything in its directory, with nothing out of packages."""
    tokenizer = _tokenizer({"image_token": "<image>"})
    config = SmallGeneralistConfig(
        text_config=_TEXT, base="none", image_size=32, grid=2, words=[[10, 1], [11, 12]], digits=[20 + n for n in range(10)],
        named=2, image_token_id=2,
    )  # fmt: skip
    processor = make_processor(tokenizer, config.image_size, config.image_tokens, "<image>")
    processor.chat_template = _template("<image>")
    processor.save_pretrained(folder)
    return SmallGeneralist(config)


def llama(folder: Path) -> Any:
    """A text model: it has no eyes."""
    tokenizer = _tokenizer({})
    tokenizer.chat_template = _template("")
    tokenizer.save_pretrained(folder)
    return hf.LlamaForCausalLM(hf.LlamaConfig(**_TEXT))


FAMILIES: dict[str, Callable[[Path], Any]] = {
    family.__name__: family
    for family in (gemma3, llava, llava_next, qwen2_5_vl, qwen3_vl, internvl, idefics3, blip2, gsco_small)
}


def build(family: Callable[[Path], Any], folder: Path) -> Path:
    """``folder`` with a checkpoint of ``family``, the same for every call."""
    torch.manual_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    family(folder).save_pretrained(folder)
    return folder
