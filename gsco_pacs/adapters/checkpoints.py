"""Reads a checkpoint in the Hugging Face format from its directory: numbers and settings, never code that it brings."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing of it may reach for a hub

import torch
import transformers
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PretrainedConfig,
    ProcessorMixin,
    dynamic_module_utils,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from gsco_pacs.domain.errors import ConfigError

dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
# A part of a model may name code, too, and no refusal of ours gets there: with this transformers does not ask for leave.

NUMBERS_ONLY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""For whatever transformers loads: nothing is fetched, and no code that a checkpoint brings is run."""
_OURS = "gsco_small"
_MEDDR = "internvl_chat"
_SEEING = (_OURS, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


def read_config(path: Path) -> PretrainedConfig:
    """The configuration in ``path``; ConfigError if it cannot be read, or if neither transformers nor we have such a model."""
    try:
        stored: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} is not a checkpoint: config.json cannot be read.") from error
    kind = stored.get("model_type")
    if kind == _OURS:
        import_module("gsco_pacs.adapters.small_generalist")  # which makes itself known to transformers
    elif kind not in (*_SEEING, *MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        raise ConfigError(_unknown(path, stored))
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path, **NUMBERS_ONLY)
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(f"{path}: transformers cannot read its config.json: {error}") from error
    return config


def _unknown(path: Path, stored: dict[str, Any]) -> str:
    """What to do about a model that only its own code could make."""
    lines = [f"{path}: transformers has no model {stored.get('model_type')!r} that writes text."]
    if "auto_map" in stored:
        lines.append("The checkpoint brings code for it, which is never run.")
    if stored.get("model_type") == _MEDDR:
        lines.append("If it is MedDr, convert it once: gsco-pacs models convert-meddr.")
    return " ".join(lines)


def sees(config: PretrainedConfig) -> bool:
    """Whether the model takes pictures."""
    return config.model_type in _SEEING


def kind_of(config: PretrainedConfig) -> Any:
    """The class of transformers that loads such a model."""
    return AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM


def empty_model(config: PretrainedConfig) -> Any:
    """The model without memory for its weights: names and shapes only."""
    with torch.device("meta"):
        return kind_of(config).from_config(config, trust_remote_code=False)


def load_processor(path: Path) -> Any:
    """The checkpoint's processor; without torchvision one without its video part, which pictures do not need."""
    try:
        return AutoProcessor.from_pretrained(path, backend="pil", **NUMBERS_ONLY)
    except (ImportError, ValueError, OSError) as error:
        name = _processor_class(path)
        if name is None or not hasattr(transformers, name):
            raise ConfigError(f"{path}: transformers cannot load its processor: {error}") from error
    kind = _without_video(getattr(transformers, name))
    settings, _ = kind.get_processor_dict(path)
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(path, backend="pil", **NUMBERS_ONLY),
        "tokenizer": AutoTokenizer.from_pretrained(path, **NUMBERS_ONLY),
        "video_processor": None,
    }
    return kind.from_args_and_dict([parts[name] for name in kind.get_attributes()], settings)


def _without_video(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """``kind`` with a constructor that takes None for the video processor."""

    def check(self: ProcessorMixin, argument_name: str, argument: Any) -> Any:
        if argument_name == "video_processor" and argument is None:
            return None
        return kind.check_argument_for_proper_class(self, argument_name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})


def _processor_class(path: Path) -> str | None:
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (path / name).is_file():
            found = json.loads((path / name).read_text(encoding="utf-8")).get("processor_class")
            if found:
                return str(found)
    return None


def encode_turn(processor: Any, prompt: str, images: list[Image.Image], *, sees: bool = True) -> Any:
    """The model's input for one turn of a person: the pictures, then the prompt, in the checkpoint's chat form if it has one."""
    if getattr(processor, "chat_template", None) is None:
        given = {"images": images} if images else {}
        return processor(text=prompt, return_tensors="pt", **given)
    if not sees:
        turn: dict[str, Any] = {"role": "user", "content": prompt}
    else:
        parts: list[dict[str, Any]] = [{"type": "image", "image": image} for image in images]
        turn = {"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}
    # Everything stands in the user's turn: some templates know no system role.
    return processor.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
