"""A generalist from a checkpoint in the Hugging Face format on a local path: vision-language or text only."""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing of it may reach for a hub

import numpy as np
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
    GenerationConfig,
    PretrainedConfig,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from gsco_pacs.adapters.option_scores import likeliest, option_scores
from gsco_pacs.domain.errors import ConfigError, OutOfResourcesError
from gsco_pacs.domain.findings import Answer, Briefing, ModelIdentity
from gsco_pacs.ports import Picture

transformers.utils.logging.disable_progress_bar()  # a worker's log is not a terminal

_WEIGHTS = ("*.safetensors", "*.bin")
_BLOCK = 1 << 20


class TransformersGeneralist:
    """One checkpoint, loaded when it is first asked and kept."""

    def __init__(
        self, path: Path, device: str = "cpu", dtype: str = "float32", max_new_tokens: int = 512
    ) -> None:
        """ConfigError if ``path`` is not a checkpoint: a path that is missing must never be taken for a name on a hub."""
        if not (path / "config.json").is_file():
            raise ConfigError(
                f"{path} is not a checkpoint in the Hugging Face format: config.json is missing."
            )
        self._weights = sorted(file for pattern in _WEIGHTS for file in path.glob(pattern))
        if not self._weights:
            raise ConfigError(f"{path} holds no weights ({' or '.join(_WEIGHTS)}).")
        self._path = path
        self._device = device
        self._dtype = dtype
        self._max_new_tokens = max_new_tokens

    @cached_property
    def identity(self) -> ModelIdentity:
        """The directory's name, the architecture, and one hash over all weight files."""
        return ModelIdentity(
            name=self._path.name,
            version=self._config.model_type,
            sha256=_hash(self._weights),
            parameters=(
                f"dtype={self._dtype}",
                f"max_new_tokens={self._max_new_tokens}",
                "do_sample=false",
                f"transformers={transformers.__version__}",
            ),
        )

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
        """One greedy answer, with the options' likelihoods if there are options; OutOfResourcesError if memory runs out.

        Where the briefing says so, the likelihoods are the answer: nothing is written freely.
        """
        images = [_image(picture) for picture in pictures] if self._sees else []
        inputs = self._encoded(briefing.prompt, images).to(self._model.device)
        for name, value in inputs.items():
            if torch.is_floating_point(value):
                inputs[name] = value.to(self._model.dtype)
        try:
            with torch.inference_mode():
                scores = self._scores(briefing, inputs) if briefing.closed else {}
                if briefing.by_likelihood:
                    return Answer(
                        likeliest(briefing, scores), self.identity, image_seen=bool(images), scores=scores
                    )
                output = self._model.generate(**inputs, generation_config=self._generation)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfResourcesError(f"{self._path.name}: no memory left for an answer.") from error
        prompt_length = 0 if self._config.is_encoder_decoder else inputs["input_ids"].shape[1]
        new = output[0, prompt_length:]
        text: str = self._tokenizer.decode(new, skip_special_tokens=True).strip()
        return Answer(text, self.identity, image_seen=bool(images), finished=self._ended(new), scores=scores)

    def _scores(self, briefing: Briefing, inputs: Any) -> dict[str, float]:
        return option_scores(self._model, self._tokenizer, inputs, briefing.options, single=briefing.single)

    @cached_property
    def _config(self) -> PretrainedConfig:
        config: PretrainedConfig = AutoConfig.from_pretrained(self._path)
        return config

    @property
    def _sees(self) -> bool:
        return self._config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    @cached_property
    def _model(self) -> Any:
        kind = AutoModelForImageTextToText if self._sees else AutoModelForCausalLM
        placed = {"device_map": "auto"} if self._device == "auto" else {}
        try:
            model = kind.from_pretrained(self._path, dtype=getattr(torch, self._dtype), **placed)
            return model.eval() if placed else model.eval().to(self._device)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfResourcesError(f"{self._path.name}: no memory left for the weights.") from error
        except (ImportError, ValueError, OSError) as error:
            raise ConfigError(f"{self._path}: transformers cannot load it: {error}") from error

    @cached_property
    def _processor(self) -> Any:
        return load_processor(self._path) if self._sees else AutoTokenizer.from_pretrained(self._path)

    @property
    def _tokenizer(self) -> Any:
        return getattr(self._processor, "tokenizer", self._processor)

    @cached_property
    def _generation(self) -> GenerationConfig:
        """Greedy, whatever the checkpoint recommends; a missing padding token is the end token."""
        own = self._model.generation_config
        ends = own.eos_token_id if own.eos_token_id is not None else self._tokenizer.eos_token_id
        first = ends[0] if isinstance(ends, list) else ends
        return GenerationConfig(
            max_new_tokens=self._max_new_tokens,
            do_sample=False,
            num_beams=1,
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            eos_token_id=ends,
            pad_token_id=own.pad_token_id if own.pad_token_id is not None else first,
        )

    def _encoded(self, prompt: str, images: list[Image.Image]) -> Any:
        if getattr(self._processor, "chat_template", None) is None:
            given = {"images": images} if images else {}
            return self._processor(text=prompt, return_tensors="pt", **given)
        if not self._sees:
            turn: dict[str, Any] = {"role": "user", "content": prompt}
        else:
            parts: list[dict[str, Any]] = [{"type": "image", "image": image} for image in images]
            turn = {"role": "user", "content": [*parts, {"type": "text", "text": prompt}]}
        # Everything stands in the user's turn: some templates know no system role.
        return self._processor.apply_chat_template(
            [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )

    def _ended(self, new: torch.Tensor) -> bool:
        ends = self._generation.eos_token_id
        known = set(ends if isinstance(ends, list) else [ends])
        return len(new) < self._max_new_tokens or int(new[-1]) in known


def load_processor(path: Path) -> Any:
    """The checkpoint's processor; without torchvision one without its video part, which pictures do not need."""
    try:
        return AutoProcessor.from_pretrained(path, backend="pil")
    except (ImportError, ValueError) as error:
        name = _processor_class(path)
        if name is None or not hasattr(transformers, name):
            raise ConfigError(f"{path}: transformers cannot load its processor: {error}") from error
    kind = _without_video(getattr(transformers, name))
    settings, _ = kind.get_processor_dict(path)
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(path, backend="pil"),
        "tokenizer": AutoTokenizer.from_pretrained(path),
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


def _image(picture: Picture) -> Image.Image:
    """8-bit RGB, which every image processor takes."""
    pixels = np.clip(np.rint(picture.pixels * 255), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB")


def _hash(files: Sequence[Path]) -> str:
    """One sha256 over the names and the bytes of ``files``."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                total.update(block)
    return total.hexdigest()
