"""The vision-language models that routes may name."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.values import Seconds


class StructuredGeneralist(Settings):
    """No language model: the wording is made from the specialists' opinions."""

    kind: Literal["structured"]


class TransformersGeneralist(Settings):
    """An image-text-to-text or text checkpoint in the Hugging Face format, on a local path."""

    kind: Literal["transformers"]
    path: Path
    """Directory of the checkpoint."""
    device: str = "cpu"
    """Torch device, such as `cpu`, `cuda` or `auto` (spread over all GPUs)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights in memory."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Layers of the language model in fewer bits, on a GPU; needs `pip install bitsandbytes accelerate`."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    """Length limit of an answer; an answer that is cut there is not used."""


class OpenAIGeneralist(Settings):
    """A server that speaks the OpenAI chat protocol (vLLM, llama.cpp)."""

    kind: Literal["openai"]
    base_url: str
    """Such as `http://127.0.0.1:8000/v1`."""
    model: str
    """The model's name on that server."""
    api_key_env: str | None = None
    """Environment variable that holds the key, if the server wants one."""
    timeout_seconds: Seconds = 120
    """Longest wait for one answer."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    """Length limit of an answer; an answer that is cut there is not used."""
    longest_edge: Annotated[int, Field(ge=64)] = 1024
    """The picture that is sent is scaled down to this, in pixels."""


GeneralistSettings = Annotated[
    StructuredGeneralist | TransformersGeneralist | OpenAIGeneralist, Field(discriminator="kind")
]
