"""Tries whether a generalist's plan holds: the checkpoint's model with random weights, one longest prompt, one answer."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import GenerationConfig

from gsco_pacs.adapters.checkpoints import encode_turn, kind_of, load_processor, read_config
from gsco_pacs.adapters.converted import mark_model
from gsco_pacs.adapters.memory_plan import CONTEXT
from gsco_pacs.domain.errors import ConfigError, OutOfResourcesError

ANSWER_TOKENS = 128
_PICTURE = (448, 448)


@dataclass(frozen=True)
class MemoryTrial:
    """What one GPU really needed, in bytes and seconds."""

    gpu: str
    weights: int
    peak: int
    """The most that was in use at a time: weights, cache and what is computed on the way."""
    prompt_tokens: int
    prompt_seconds: float
    answer_tokens: int
    tokens_per_second: float

    def __str__(self) -> str:
        return (
            f"tried on {self.gpu} with random weights: {self.weights / 1e9:.1f} GB of weights, {self.peak / 1e9:.1f} GB at "
            f"the peak; {self.prompt_tokens} tokens of prompt and picture read in {self.prompt_seconds:.2f} s, then "
            f"{self.tokens_per_second:.1f} tokens/s over {self.answer_tokens} tokens"
        )


def try_memory(path: Path, dtype: torch.dtype, device: str = "cuda") -> MemoryTrial:
    """Make the model of ``path`` (configuration and processor; no weights are read) on a GPU and let it answer once.

    ConfigError without a GPU or if transformers does not know the model, OutOfResourcesError if it does not fit.
    """
    if not torch.cuda.is_available():
        raise ConfigError("A trial needs a GPU that torch can see; the plan alone needs none.")
    try:
        config, processor = read_config(path), load_processor(path)
        torch.cuda.reset_peak_memory_stats(device)
        with torch.device(device):
            model = mark_model(
                kind_of(config).from_config(config, dtype=dtype, trust_remote_code=False).eval(), config
            )
        weights = torch.cuda.memory_allocated(device)
        inputs = longest_prompt(processor).to(device)
        inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
        prompt_seconds = _timed(model, inputs, 1)
        whole_seconds = _timed(model, inputs, ANSWER_TOKENS)
    except (ValueError, OSError, KeyError) as error:
        raise ConfigError(f"{path}: transformers cannot try it: {error}") from error
    except torch.OutOfMemoryError as error:
        raise OutOfResourcesError(f"{path.name} does not fit: {error}") from error
    return MemoryTrial(
        torch.cuda.get_device_name(device),
        weights,
        torch.cuda.max_memory_allocated(device),
        inputs["input_ids"].shape[1],
        prompt_seconds,
        ANSWER_TOKENS,
        (ANSWER_TOKENS - 1) / (whole_seconds - prompt_seconds),
    )


def longest_prompt(processor: Any) -> Any:
    """One picture and so many words that prompt and answer fill the planned context."""
    picture = Image.new("RGB", _PICTURE, "grey")

    def encoded(words: int) -> Any:
        return encode_turn(processor, "effusion " * words, [picture])

    few, more = (encoded(words)["input_ids"].shape[1] for words in (1, 101))
    return encoded(1 + (CONTEXT - ANSWER_TOKENS - few) * 100 // (more - few))


def _timed(model: Any, inputs: Any, tokens: int) -> float:
    """Seconds for exactly ``tokens`` greedy tokens."""
    how = GenerationConfig(max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
    torch.cuda.synchronize()
    began = time.perf_counter()
    with torch.inference_mode():
        model.generate(**inputs, generation_config=how)
    torch.cuda.synchronize()
    return time.perf_counter() - began
