"""What a generalist needs of memory, part by part, and whether this machine has it: said before anything is loaded."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gsco_pacs.domain.errors import ConfigError

Quantization = Literal["none", "8bit", "4bit"]
CONTEXT = 4096
"""The cache is planned for so many tokens of prompt, picture and answer."""

_BYTES = {"8bit": 1.0, "4bit": 0.5625}
"""A quantised weight; with 4 bits each block of 64 weights also has a scale of 4 bytes."""
_RESERVE = 0.03
"""Share of the weights kept free for what is computed on the way."""
_LANGUAGE = ("language_model", "text_model")


@dataclass(frozen=True)
class Part:
    """One part of a model: its dotted name, its parameters, and how many of them quantising shrinks."""

    name: str
    parameters: int
    shrinking: int


@dataclass(frozen=True)
class Machine:
    """Free memory in bytes: RAM, and each GPU by its name."""

    ram: int
    gpus: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class MemoryPlan:
    """The parts of a model and the values that its cache holds for CONTEXT tokens."""

    parts: tuple[Part, ...]
    cached: int

    def weights(self, part: Part, dtype: torch.dtype, quantization: Quantization) -> int:
        """Bytes of the weights of ``part``."""
        small = 0 if quantization == "none" else part.shrinking
        return int((part.parameters - small) * dtype.itemsize + small * _BYTES.get(quantization, 0))

    def total(self, dtype: torch.dtype, quantization: Quantization) -> int:
        """Bytes of weights, cache and reserve."""
        weights = sum(self.weights(part, dtype, quantization) for part in self.parts)
        return int(weights * (1 + _RESERVE)) + self.cached * dtype.itemsize

    def unquantised(self) -> list[str]:
        """The parts that keep their number format: all but the layers of the language model."""
        return [part.name for part in self.parts if not part.shrinking]

    def check(
        self, device: str, dtype: torch.dtype, quantization: Quantization, machine: Machine
    ) -> tuple[str, int]:
        """Where it would go and what is free there; ConfigError, with what would fit instead, if it is too much."""
        where, free = _place(device, machine)
        if free is not None and self.total(dtype, quantization) > free:
            fitting = [
                f"quantization: {other} ({_gb(self.total(dtype, other))})"
                for other in ("8bit", "4bit")
                if other != quantization and self.total(dtype, other) <= free
            ]
            remedy = (
                " or ".join(fitting) or "more or larger GPUs with device: auto, or a server (kind: openai)"
            )
            raise ConfigError(
                f"The generalist needs {_gb(self.total(dtype, quantization))} and {where} has {_gb(free)} free. "
                f"What would fit: {remedy}."
            )
        return where, free or 0

    def lines(self, machine: Machine) -> Iterator[str]:
        """The plan as a table for a terminal or a log, in bfloat16 and quantised, and what this machine has."""
        forms: tuple[Quantization, ...] = ("none", "8bit", "4bit")
        yield f"{'memory plan':34}{'parameters':>14}{'bf16':>11}{'8bit':>11}{'4bit':>11}"
        for part in self.parts:
            sizes = "".join(f"{_gb(self.weights(part, torch.bfloat16, form)):>11}" for form in forms)
            yield f"{part.name:34}{part.parameters:14,}{sizes}"
        yield f"{f'cache of {CONTEXT} tokens':34}{'':14}" + f"{_gb(self.cached * 2):>11}" * 3
        totals = "".join(f"{_gb(self.total(torch.bfloat16, form)):>11}" for form in forms)
        whole = sum(part.parameters for part in self.parts)
        yield f"{f'in all, {_RESERVE:.0%} spare':34}{whole:14,}{totals}"
        gpus = ", ".join(f"{name} {_gb(free)}" for name, free in machine.gpus) or "no GPU"
        yield f"free here: {_gb(machine.ram)} RAM, {gpus}"


def plan_memory(model: Any) -> MemoryPlan:
    """The plan of ``model``, which may be an empty one on the device `meta`."""
    counted: Counter[str] = Counter()
    shrinking: Counter[str] = Counter()
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    names = dict(model.named_parameters())
    speaks = any(name in part.split(".") for part in {_part(name) for name in names} for name in _LANGUAGE)
    for name, values in names.items():
        part = _part(name)
        counted[part] += values.numel()
        language = part.rpartition(".")[2] in _LANGUAGE or not speaks
        if name in linear and language and not name.startswith("lm_head"):
            shrinking[part] += values.numel()
    parts = tuple(Part(name, number, shrinking[name]) for name, number in counted.items())
    return MemoryPlan(parts, _cached(model.config.get_text_config(decoder=True)))


def device_map(model: Any, dtype: torch.dtype, machine: Machine) -> Iterator[str]:
    """Which modules would lie on which device with `device: auto`, one line a device."""
    from accelerate import infer_auto_device_map  # noqa: PLC0415 - an extra

    room: dict[int | str, int] = {i: free for i, (_, free) in enumerate(machine.gpus)}
    room["cpu"] = machine.ram
    whole = list(getattr(model, "_no_split_modules", None) or [])
    placed: dict[str, list[str]] = {}
    found = infer_auto_device_map(model, max_memory=room, no_split_module_classes=whole, dtype=dtype)
    for name, device in found.items():
        placed.setdefault(str(device), []).append(name or "everything")
    for device, held in placed.items():
        span = held[0] if len(held) == 1 else f"{held[0]} to {held[-1]}"
        yield f"device {device}: {span}"


def this_machine() -> Machine:
    """What is free here now."""
    gpus = tuple(
        (f"cuda:{i} {torch.cuda.get_device_name(i)}", torch.cuda.mem_get_info(i)[0])
        for i in range(torch.cuda.device_count())
    )
    return Machine(_free_ram(), gpus)


def _free_ram() -> int:
    """Bytes that can be had without swapping; a container's limit counts."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    group = Path("/sys/fs/cgroup")
    if (group / "memory.max").is_file():
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            free = min(free, int(limit) - int((group / "memory.current").read_text(encoding="ascii")))
    return free


def _place(device: str, machine: Machine) -> tuple[str, int | None]:
    """The place that ``device`` means and its free bytes; None where they cannot be known."""
    if device == "cpu" or (device == "auto" and not machine.gpus):
        return "the RAM", machine.ram
    if device == "auto":
        return f"the {len(machine.gpus)} GPUs together", sum(free for _, free in machine.gpus)
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return device, None
    index = int(number or 0)
    if index >= len(machine.gpus):
        raise ConfigError(
            f"The generalist is to run on {device}, and torch sees {len(machine.gpus)} GPUs here."
        )
    return machine.gpus[index]


def _part(name: str) -> str:
    head = name.split(".")
    return ".".join(head[:2]) if head[0] == "model" and len(head) > 2 else head[0]


def _cached(text: Any) -> int:
    """Keys and values of CONTEXT tokens in every layer."""
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * width * CONTEXT)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
