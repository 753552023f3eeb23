"""The published checkpoint of MedDr as one that transformers loads without foreign code, converted tensor by tensor."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from gsco_pacs.adapters.checkpoints import empty_model, load_processor
from gsco_pacs.adapters.meddr_layout import (
    converted_config,
    converted_keys,
    read_source_config,
    write_small_files,
)
from gsco_pacs.adapters.meddr_tokenizer import CONTEXT_TOKEN, PublishedTokenizer
from gsco_pacs.adapters.memory_plan import plan_memory, this_machine
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.domain.errors import BrokenBundleError, ConfigError, OutOfResourcesError

_SHARD_BYTES = 5_000_000_000
_INDEX = "model.safetensors.index.json"
_NAMED = 8
"""So many wrong keys are named in an error; the rest are counted."""


def convert_meddr(
    source: Path, out: Path, say: Callable[[str], None], progress: Told, shard_bytes: int = _SHARD_BYTES
) -> None:
    """Write ``source`` to the new directory ``out``; it is there whole and read back, or not at all.

    At most one shard of ``shard_bytes`` is held in memory. ConfigError if it is not the layout that is known here,
    BrokenBundleError if keys are missing, unexpected or of another shape, OutOfResourcesError if the disk is too small.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already: convert into a new directory.")
    settings = read_source_config(source)
    published = PublishedTokenizer(source)
    tokenizer = published.fast()
    config = converted_config(settings, tokenizer)
    published.check(tokenizer, _probes(config.image_seq_length))
    model = empty_model(config)
    for line in plan_memory(model).lines(this_machine()):
        say(line)
    with _Shards(source) as shards:
        _check_keys(shards, model)
        _check_disk(out, shards.size)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as unfinished:
            target = Path(unfinished) / out.name
            target.mkdir()
            write_small_files(target, config, tokenizer)
            _write_weights(shards, target, shard_bytes, progress)
            _check_small_files(target, tokenizer)
            target.rename(out)
    say(f"{out} holds the converted model; it was read back and is the same.")


class _Shards:
    """The tensors of a checkpoint by name, read from its files one at a time."""

    def __init__(self, source: Path) -> None:
        self._paths = sorted(source.glob("*.safetensors"))
        if not self._paths:
            raise ConfigError(f"{source} holds no .safetensors files.")
        self.size = sum(path.stat().st_size for path in self._paths)
        self._files: dict[str, Any] = {}
        self._stack = ExitStack()
        index = source / _INDEX
        self._listed = (
            set(json.loads(index.read_text(encoding="utf-8"))["weight_map"]) if index.is_file() else None
        )

    def __enter__(self) -> "_Shards":
        for path in self._paths:
            try:
                file = self._stack.enter_context(safe_open(path, framework="pt"))
            except SafetensorError as error:
                raise BrokenBundleError(f"{path} cannot be read: {error}") from error
            self._files |= dict.fromkeys(file.keys(), file)
        if self._listed is not None and self._listed != set(self._files):
            wrong = _named(self._listed ^ set(self._files))
            raise BrokenBundleError(f"The index and the files do not hold the same tensors: {wrong}.")
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._files[key].get_slice(key).get_shape())

    def converted(self, key: str) -> dict[str, torch.Tensor]:
        """The tensor ``key`` under its new names; a fused qkv becomes three."""
        tensor: torch.Tensor = self._files[key].get_tensor(key)
        targets = converted_keys(key)
        pieces = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        return {name: piece.clone().contiguous() for name, piece in zip(targets, pieces, strict=True)}


def _check_keys(shards: _Shards, model: Any) -> None:
    wanted = {name: tuple(values.shape) for name, values in model.state_dict().items()}
    found: dict[str, tuple[int, ...]] = {}
    unknown = []
    for key in shards:
        targets = converted_keys(key)
        first, *rest = shards.shape(key) or (1,)
        found |= dict.fromkeys(targets, (first // max(len(targets), 1), *rest))
        unknown += [] if targets and set(targets) <= set(wanted) else [key]
    if unknown:
        raise BrokenBundleError(
            f"Unexpected tensors: {_named(unknown)}. (Merge LoRA weights before converting.)"
        )
    if missing := set(wanted) - set(found):
        raise BrokenBundleError(f"Missing tensors: {_named(missing)}.")
    if other := [
        f"{name} {found[name]} for {wanted[name]}" for name in wanted if found[name] != wanted[name]
    ]:
        raise BrokenBundleError(f"Tensors of another shape than config.json says: {_named(other)}.")


def _check_disk(out: Path, needed: int) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if free < needed * 1.01:
        raise OutOfResourcesError(
            f"{out.parent}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free."
        )


def _write_weights(shards: _Shards, target: Path, shard_bytes: int, progress: Told) -> None:
    """Shards as full as ``shard_bytes`` allows, each read back at once, and the index of all."""
    weight_map: dict[str, str] = {}
    held: dict[str, torch.Tensor] = {}
    total = 0

    def flush() -> None:
        name = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
        save_file(held, target / name, metadata={"format": "pt"})
        _read_back(held, target / name)
        weight_map.update(dict.fromkeys(held, name))
        held.clear()

    for done, key in enumerate(shards, 1):
        new = shards.converted(key)
        if held and _size(held) + _size(new) > shard_bytes:
            flush()
        held |= new
        total += _size(new)
        progress(done, len(shards), "")
    flush()
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (target / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def _read_back(held: dict[str, torch.Tensor], path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        written = set(file.keys())
        wrong = [
            key for key in held if key not in written or not torch.equal(file.get_tensor(key), held[key])
        ]
    if wrong or written != set(held):
        raise BrokenBundleError(f"{path.name} is not what was written: {_named(wrong or written)}.")


def _check_small_files(target: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """The processor that would be loaded writes the published string."""
    processor = load_processor(target)
    for text in _prompts():
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
        written = processor.apply_chat_template([turn], add_generation_prompt=True)
        if written != chat_string(text, 1).replace("<img>", "").replace("</img>", ""):
            raise BrokenBundleError(f"The converted chat template writes {written!r}.")
        if processor.tokenizer(text)["input_ids"] != tokenizer(text)["input_ids"]:
            raise BrokenBundleError("The converted tokenizer changed when it was stored.")


def chat_string(question: str, image_tokens: int) -> str:
    """The text that MedDr was trained on and is asked with."""
    image = f"<img>{CONTEXT_TOKEN * image_tokens}</img>"
    return (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n"
        f"{image}\n{question}<|im_end|><|im_start|>assistant\n"
    )


def _probes(image_tokens: int) -> list[str]:
    return [chat_string(text, image_tokens) for text in _prompts()]


def _prompts() -> list[str]:
    """Every template that this node may send: the words that must be read as in training."""
    folder = files("gsco_pacs") / "prompts"
    return [entry.read_text(encoding="utf-8").strip() for entry in folder.iterdir() if entry.is_file()]


def _size(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _named(keys: Any) -> str:
    listed = sorted(keys)
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
