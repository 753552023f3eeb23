"""A generalist from a checkpoint in the Hugging Face format on a local path: vision-language or text only."""

import hashlib
import logging
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing of it may reach for a hub

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoTokenizer, BitsAndBytesConfig, GenerationConfig, PretrainedConfig

from gsco_pacs.adapters.checkpoints import (
    NUMBERS_ONLY,
    empty_model,
    encode_turn,
    kind_of,
    load_processor,
    read_config,
    sees,
)
from gsco_pacs.adapters.converted import mark_model, mark_processor, picture_limit
from gsco_pacs.adapters.memory_plan import MemoryPlan, Quantization, device_map, plan_memory, this_machine
from gsco_pacs.adapters.option_scores import likeliest, option_scores
from gsco_pacs.domain.errors import ConfigError, OutOfResourcesError
from gsco_pacs.domain.findings import Answer, Briefing, ModelIdentity
from gsco_pacs.ports import Picture

transformers.utils.logging.disable_progress_bar()  # a worker's log is not a terminal

_WEIGHTS = ("*.safetensors", "*.bin")
_BLOCK = 1 << 20
_LOG = logging.getLogger(__name__)


class TransformersGeneralist:
    """One checkpoint, loaded when it is first asked and kept."""

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        dtype: str = "float32",
        max_new_tokens: int = 512,
        quantization: Quantization = "none",
    ) -> None:
        """ConfigError if ``path`` is not a checkpoint: a path that is missing must never be taken for a name on a hub."""
        if not (path / "config.json").is_file():
            raise ConfigError(
                f"{path} is not a checkpoint in the Hugging Face format: config.json is missing."
            )
        self._weights = sorted(file for pattern in _WEIGHTS for file in path.glob(pattern))
        if not self._weights:
            raise ConfigError(f"{path} holds no weights ({' or '.join(_WEIGHTS)}).")
        if quantization != "none" and not find_spec("bitsandbytes"):
            raise ConfigError(
                f"quantization: {quantization} needs a GPU and: pip install bitsandbytes accelerate"
            )
        self._path = path
        self._device = device
        self._dtype = getattr(torch, dtype)
        self._max_new_tokens = max_new_tokens
        self._quantization = quantization

    @cached_property
    def identity(self) -> ModelIdentity:
        """The directory's name, the architecture, and one hash over all weight files."""
        return ModelIdentity(
            name=self._path.name,
            version=self._config.model_type,
            sha256=_hash(self._weights),
            parameters=(
                f"dtype={str(self._dtype).removeprefix('torch.')}",
                f"quantization={self._quantization}",
                f"max_new_tokens={self._max_new_tokens}",
                "do_sample=false",
                f"transformers={transformers.__version__}",
            ),
        )

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
        """One greedy answer, with the options' likelihoods if there are options; OutOfResourcesError if memory runs out.

        Where the briefing says so, the likelihoods are the answer: nothing is written freely.
        """
        shown = pictures[: picture_limit(self._config)] if self._sees else []
        images = [_image(picture) for picture in shown]
        inputs = encode_turn(self._processor, briefing.prompt, images, sees=self._sees).to(self._model.device)
        for name, value in inputs.items():
            if torch.is_floating_point(value):
                inputs[name] = value.to(self._model.dtype)
        try:
            with torch.inference_mode():
                scores = self._scores(briefing, inputs) if briefing.closed else {}
                if briefing.by_likelihood:
                    return Answer(
                        likeliest(briefing, scores),
                        self.identity,
                        image_seen=bool(images),
                        scores=scores,
                        tokens_in=inputs["input_ids"].shape[1],
                    )
                output = self._model.generate(**inputs, generation_config=self._generation)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfResourcesError(f"{self._path.name}: no memory left for an answer.") from error
        prompt_length = 0 if self._config.is_encoder_decoder else inputs["input_ids"].shape[1]
        new = output[0, prompt_length:]
        text: str = self._tokenizer.decode(new, skip_special_tokens=True).strip()
        return Answer(
            text,
            self.identity,
            image_seen=bool(images),
            finished=self._ended(new),
            scores=scores,
            tokens_in=inputs["input_ids"].shape[1],
            tokens_out=len(new),
        )

    def _scores(self, briefing: Briefing, inputs: Any) -> dict[str, float]:
        return option_scores(self._model, self._tokenizer, inputs, briefing)

    @cached_property
    def _config(self) -> PretrainedConfig:
        return read_config(self._path)

    @property
    def _sees(self) -> bool:
        return sees(self._config)

    @cached_property
    def _model(self) -> Any:
        try:
            plan = self._planned()
            model = kind_of(self._config).from_pretrained(
                self._path, dtype=self._dtype, **NUMBERS_ONLY, **self._placing(plan)
            )
            placed = model if "device_map" in self._placing(plan) else model.to(self._device)
            return mark_model(placed.eval(), self._config)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfResourcesError(f"{self._path.name}: no memory left for the weights.") from error
        except (ImportError, ValueError, OSError) as error:
            raise ConfigError(f"{self._path}: transformers cannot load it: {error}") from error

    def _planned(self) -> MemoryPlan:
        """The memory plan, in the log before a byte of the weights is read; ConfigError if it cannot fit."""
        empty = empty_model(self._config)
        plan, machine = plan_memory(empty), this_machine()
        where, free = plan.check(self._device, self._dtype, self._quantization, machine)
        needed = plan.total(self._dtype, self._quantization)
        spread = self._device == "auto" and self._quantization == "none" and find_spec("accelerate")
        for line in (*plan.lines(machine), *(device_map(empty, self._dtype, machine) if spread else ())):
            _LOG.info("%s: %s", self._path.name, line)
        _LOG.info("%s: %.1f GB go to %s (%.1f GB free)", self._path.name, needed / 1e9, where, free / 1e9)
        return plan

    def _placing(self, plan: MemoryPlan) -> dict[str, Any]:
        """Straight onto the GPU if accelerate is there, so that the RAM never has to hold a large model."""
        placing: dict[str, Any] = {}
        if self._device == "auto":
            placing["device_map"] = "auto"
        elif self._quantization != "none" or (self._device != "cpu" and find_spec("accelerate")):
            placing["device_map"] = {"": self._device}
        if self._quantization != "none":
            placing["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=self._quantization == "8bit",
                load_in_4bit=self._quantization == "4bit",
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=self._dtype,
                llm_int8_skip_modules=[*plan.unquantised(), "lm_head"],
            )
        return placing

    @cached_property
    def _processor(self) -> Any:
        if not self._sees:
            return AutoTokenizer.from_pretrained(self._path, **NUMBERS_ONLY)
        return mark_processor(load_processor(self._path), self._config)

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

    def _ended(self, new: torch.Tensor) -> bool:
        ends = self._generation.eos_token_id
        known = set(ends if isinstance(ends, list) else [ends])
        return len(new) < self._max_new_tokens or int(new[-1]) in known


def plan_checkpoint(path: Path) -> MemoryPlan:
    """The memory plan of a checkpoint, from its config.json alone; ConfigError if nobody here knows the model."""
    try:
        return plan_memory(empty_model(read_config(path)))
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{path}: transformers cannot plan it: {error}") from error


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
