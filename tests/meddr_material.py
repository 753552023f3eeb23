"""A tiny checkpoint in the published layout of MedDr, and its forward pass written down again in plain torch.

Nothing of transformers' InternVL is used here: the second writing is the yardstick for the converted model.
"""

import io
import json
import math
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]
VISION: dict[str, Any] = {
    "model_type": "intern_vit_6b", "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40,
    "num_hidden_layers": 3, "image_size": 56, "patch_size": 14, "num_channels": 3, "hidden_act": "gelu",
    "layer_norm_eps": 1e-6, "qk_normalization": True, "qkv_bias": False,
}  # fmt: skip
LANGUAGE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "num_hidden_layers": 2, "rms_norm_eps": 1e-5, "rope_theta": 5e6,
    "max_position_embeddings": 4096, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
IMAGE_TOKENS = 4
"""56 / 14 patches an edge, half as many tokens: 2 x 2."""
CONTROLS = ["<|Human|>", "<|Assistant|>", "<|System|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"]
"""Ids 3 to 8 of the published tokenizer's model, so that the end of a turn is 7."""
ADDED = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]


def write_published(
    folder: Path, *, select_layer: int = -1, prefixed: bool = False, **changes: Any
) -> Weights:
    """``folder`` with two shards, their index, configuration and tokenizer, as MedDr is published; its weights."""
    folder.mkdir()
    pieces = _write_tokenizer(folder, prefixed)
    config = {
        "model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "template": "Hermes-2",
        "downsample_ratio": 0.5, "force_image_size": 56, "pad2square": False, "select_layer": select_layer,
        "torch_dtype": "float32", "vision_config": VISION, "llm_config": {**LANGUAGE, "vocab_size": pieces},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    weights = drawn_weights(pieces)
    write_shards(folder, weights)
    return weights


def write_shards(folder: Path, weights: Weights) -> None:
    """Two shards and the index over them."""
    names = list(weights)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in halves.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, held in halves.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def _write_tokenizer(folder: Path, prefixed: bool) -> int:
    """A SentencePiece model with byte fallback and the published control pieces; the size of the vocabulary."""
    prompts = Path(__file__).parents[1] / "gsco_pacs" / "prompts"
    words = [line for path in sorted(prompts.iterdir()) for line in path.read_text().splitlines()]
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=stream, vocab_size=420, model_type="bpe", byte_fallback=True,
        unk_id=0, bos_id=1, eos_id=2, bos_piece="<|startoftext|>", eos_piece="<|endoftext|>",
        control_symbols=CONTROLS, add_dummy_prefix=prefixed, remove_extra_whitespaces=False,
        normalization_rule_name="identity", minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(stream.getvalue())
    known = ["<unk>", "<|startoftext|>", "<|endoftext|>", *CONTROLS]
    numbered = {known.index(token): token for token in known if token not in CONTROLS[:3]}
    numbered |= {420 + i: token for i, token in enumerate(ADDED)}
    settings = {
        "tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": False, "add_eos_token": False,
        "bos_token": "<|startoftext|>", "eos_token": "<|im_end|>", "pad_token": "<unk>", "unk_token": "<unk>",
        "added_tokens_decoder": {i: {"content": token, "special": True} for i, token in numbered.items()},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return 420 + len(ADDED)


def drawn_weights(vocabulary: int) -> Weights:
    """Weights drawn so large that every part of the model moves the logits."""
    draw = torch.Generator().manual_seed(3)

    def some(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(*shape, generator=draw) * scale

    eye, text = VISION["hidden_size"], LANGUAGE["hidden_size"]
    wide, inner = VISION["intermediate_size"], LANGUAGE["intermediate_size"]
    weights = {
        "vision_model.embeddings.class_embedding": some(1, 1, eye),
        "vision_model.embeddings.position_embedding": some(1, 17, eye),
        "vision_model.embeddings.patch_embedding.weight": some(eye, 3, 14, 14, scale=0.05),
        "vision_model.embeddings.patch_embedding.bias": some(eye),
        "mlp1.0.weight": 1 + some(4 * eye), "mlp1.0.bias": some(4 * eye),
        "mlp1.1.weight": some(text, 4 * eye), "mlp1.1.bias": some(text),
        "mlp1.3.weight": some(text, text), "mlp1.3.bias": some(text),
        "language_model.model.embed_tokens.weight": some(vocabulary, text),
        "language_model.model.norm.weight": 1 + some(text),
        "language_model.lm_head.weight": some(vocabulary, text),
    }  # fmt: skip
    for n in range(VISION["num_hidden_layers"]):
        at = f"vision_model.encoder.layers.{n}."
        weights |= {
            at + "attn.qkv.weight": some(3 * eye, eye), at + "attn.proj.weight": some(eye, eye),
            at + "attn.proj.bias": some(eye), at + "attn.q_norm.weight": 1 + some(eye),
            at + "attn.k_norm.weight": 1 + some(eye), at + "norm1.weight": 1 + some(eye),
            at + "norm2.weight": 1 + some(eye), at + "ls1": some(eye), at + "ls2": some(eye),
            at + "mlp.fc1.weight": some(wide, eye), at + "mlp.fc1.bias": some(wide),
            at + "mlp.fc2.weight": some(eye, wide), at + "mlp.fc2.bias": some(eye),
        }  # fmt: skip
    for n in range(LANGUAGE["num_hidden_layers"]):
        at = f"language_model.model.layers.{n}."
        weights |= {
            at + "self_attn.q_proj.weight": some(text, text), at + "self_attn.k_proj.weight": some(text // 2, text),
            at + "self_attn.v_proj.weight": some(text // 2, text), at + "self_attn.o_proj.weight": some(text, text),
            at + "mlp.gate_proj.weight": some(inner, text), at + "mlp.up_proj.weight": some(inner, text),
            at + "mlp.down_proj.weight": some(text, inner), at + "input_layernorm.weight": 1 + some(text),
            at + "post_attention_layernorm.weight": 1 + some(text),
        }  # fmt: skip
    return weights


def reference_logits(
    weights: Weights, pixels: Tensor, ids: list[int], context: int, select_layer: int
) -> Tensor:
    """Logits [tokens, vocabulary] for one picture [3, 56, 56] and the ids of its prompt."""
    states = _vision(weights, pixels)[select_layer]
    tokens = _projected(weights, _shuffled(states[1:].reshape(4, 4, -1)))
    embedded = weights["language_model.model.embed_tokens.weight"][ids].clone()
    embedded[torch.tensor(ids) == context] = tokens
    return _language(weights, embedded)


def _root_mean_square(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def _vision(weights: Weights, pixels: Tensor) -> list[Tensor]:
    """The states [17, width] before the first layer and after each."""
    at = "vision_model.embeddings."
    kernel = weights[at + "patch_embedding.weight"].flatten(1)
    corners = [(14 * row, 14 * column) for row in range(4) for column in range(4)]
    patches = torch.stack([pixels[:, y : y + 14, x : x + 14].reshape(-1) for y, x in corners])
    embedded = patches @ kernel.T + weights[at + "patch_embedding.bias"]
    x = torch.cat([weights[at + "class_embedding"][0], embedded]) + weights[at + "position_embedding"][0]
    states = [x]
    for n in range(VISION["num_hidden_layers"]):
        layer = {
            k.split(f"layers.{n}.")[1]: v
            for k, v in weights.items()
            if f"vision_model.encoder.layers.{n}." in k
        }
        x = x + layer["ls1"] * _eye_attention(layer, _root_mean_square(x, layer["norm1.weight"], 1e-6))
        y = _root_mean_square(x, layer["norm2.weight"], 1e-6)
        y = functional.gelu(y @ layer["mlp.fc1.weight"].T + layer["mlp.fc1.bias"])
        x = x + layer["ls2"] * (y @ layer["mlp.fc2.weight"].T + layer["mlp.fc2.bias"])
        states.append(x)
    return states


def _eye_attention(layer: Weights, x: Tensor) -> Tensor:
    heads, width = VISION["num_attention_heads"], VISION["hidden_size"]
    q, k, v = (x @ layer["attn.qkv.weight"].T).chunk(3, dim=1)
    q = _root_mean_square(q, layer["attn.q_norm.weight"], 1e-6)  # over all heads at once
    k = _root_mean_square(k, layer["attn.k_norm.weight"], 1e-6)
    seen = []
    for one in range(heads):
        own = slice(one * width // heads, (one + 1) * width // heads)
        share = (q[:, own] @ k[:, own].T / math.sqrt(width // heads)).softmax(-1)
        seen.append(share @ v[:, own])
    return torch.cat(seen, 1) @ layer["attn.proj.weight"].T + layer["attn.proj.bias"]


def _shuffled(grid: Tensor) -> Tensor:
    """v1: [rows, columns, width] to tokens of 2 x 2 patches, column by column, each patch row before its columns."""
    tokens = [
        torch.cat([grid[2 * row + down, 2 * column + right] for down in (0, 1) for right in (0, 1)])
        for column in range(grid.shape[1] // 2)
        for row in range(grid.shape[0] // 2)
    ]
    return torch.stack(tokens)


def _projected(weights: Weights, x: Tensor) -> Tensor:
    normal = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
    x = normal * weights["mlp1.0.weight"] + weights["mlp1.0.bias"]
    x = functional.gelu(x @ weights["mlp1.1.weight"].T + weights["mlp1.1.bias"])
    return x @ weights["mlp1.3.weight"].T + weights["mlp1.3.bias"]


def _language(weights: Weights, x: Tensor) -> Tensor:
    for n in range(LANGUAGE["num_hidden_layers"]):
        at = f"language_model.model.layers.{n}."
        layer = {k.removeprefix(at): v for k, v in weights.items() if k.startswith(at)}
        x = x + _causal_attention(layer, _root_mean_square(x, layer["input_layernorm.weight"], 1e-5))
        y = _root_mean_square(x, layer["post_attention_layernorm.weight"], 1e-5)
        gated = functional.silu(y @ layer["mlp.gate_proj.weight"].T) * (y @ layer["mlp.up_proj.weight"].T)
        x = x + gated @ layer["mlp.down_proj.weight"].T
    x = _root_mean_square(x, weights["language_model.model.norm.weight"], 1e-5)
    return x @ weights["language_model.lm_head.weight"].T


def _causal_attention(layer: Weights, x: Tensor) -> Tensor:
    heads, width = LANGUAGE["num_attention_heads"], LANGUAGE["hidden_size"] // LANGUAGE["num_attention_heads"]
    q, k, v = (x @ layer[f"self_attn.{part}_proj.weight"].T for part in "qkv")
    mask = torch.full((len(x), len(x)), -torch.inf).triu(1)
    seen = []
    for one in range(heads):
        other = one // (heads // LANGUAGE["num_key_value_heads"])
        own, shared = (slice(i * width, (i + 1) * width) for i in (one, other))
        share = (_turned(q[:, own]) @ _turned(k[:, shared]).T / math.sqrt(width) + mask).softmax(-1)
        seen.append(share @ v[:, shared])
    return torch.cat(seen, 1) @ layer["self_attn.o_proj.weight"].T


def _turned(x: Tensor) -> Tensor:
    """Rotary position embedding of one head [tokens, width]: the two halves are the real and imaginary parts."""
    half = x.shape[1] // 2
    speed = LANGUAGE["rope_theta"] ** (-torch.arange(half) / half)
    angle = torch.arange(len(x))[:, None] * speed
    turned = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], 1)
