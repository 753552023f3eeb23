"""MedDr: its published layout becomes a checkpoint that transformers loads, with the same numbers and the same words."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import yaml
from PIL import Image
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from gsco_pacs import cli
from gsco_pacs.adapters.checkpoints import empty_model, encode_turn, load_processor
from gsco_pacs.adapters.convert_meddr import convert_meddr
from gsco_pacs.adapters.meddr_layout import converted_config, read_source_config
from gsco_pacs.adapters.meddr_tokenizer import PublishedTokenizer
from gsco_pacs.adapters.memory_plan import CONTEXT, Machine, MemoryPlan, Part, device_map
from gsco_pacs.adapters.memory_trial import ANSWER_TOKENS, longest_prompt, try_memory
from gsco_pacs.adapters.transformers_generalist import TransformersGeneralist, plan_checkpoint
from gsco_pacs.domain.errors import BrokenBundleError, ConfigError, OutOfResourcesError
from gsco_pacs.domain.findings import Briefing, Mode
from gsco_pacs.ports import Picture
from gsco_pacs.settings.generalists import TransformersGeneralist as Settings
from tests.meddr_material import IMAGE_TOKENS, Weights, reference_logits, write_published, write_shards

QUESTION = "You are given a chest x-ray image."
BRIEFING = Briefing(Mode.GENERALIST, QUESTION, "gsco-v1", "0" * 64, ("Mass",))
WIDE = Picture("1.2.3", np.linspace(0, 1, 40 * 90, dtype=np.float32).reshape(40, 90))
GIGA = 1_000_000_000


def converted(source: Path, **settings: Any) -> Path:
    out = source.parent / "converted"
    convert_meddr(source, out, lambda line: None, lambda done, steps, line: None, **settings)
    return out


@pytest.mark.parametrize("select_layer", [-1, -2])
def test_the_converted_model_has_the_logits_of_the_published_forward_pass(
    select_layer: int, tmp_path: Path
) -> None:
    weights = write_published(tmp_path / "meddr", select_layer=select_layer)
    generalist = TransformersGeneralist(converted(tmp_path / "meddr"))
    inputs = encode_turn(
        generalist._processor, QUESTION, [Image.fromarray(np.uint8(WIDE.pixels * 255)).convert("RGB")]
    )
    context = generalist._tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    expected = reference_logits(
        weights, inputs["pixel_values"][0], inputs["input_ids"][0].tolist(), context, select_layer
    )
    with torch.inference_mode():
        found = generalist._model(**inputs).logits[0]
        del generalist._model.model.pixel_shuffle  # what is left is the stock order
        stock = generalist._model(**inputs).logits[0]
    assert (found - expected).abs().max() < 1e-4
    assert (stock - expected).abs().max() > 0.1


def test_nothing_is_missing_or_left_over_when_transformers_loads_it(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    out = converted(tmp_path / "meddr")
    kind: Any = AutoModelForImageTextToText
    _, told = kind.from_pretrained(out, output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize("prefixed", [False, True])
def test_the_tokens_of_the_chat_string_are_what_sentencepiece_reads(prefixed: bool, tmp_path: Path) -> None:
    write_published(tmp_path / "meddr", prefixed=prefixed)
    generalist = TransformersGeneralist(converted(tmp_path / "meddr"))
    image = Image.fromarray(np.zeros((40, 90, 3), np.uint8))
    ids = encode_turn(generalist._processor, "Is it so?", [image])["input_ids"][0].tolist()
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "meddr" / "tokenizer.model"))
    start, end = 6, 7
    assert ids == [
        start, *own.encode("system\nAnswer the questions."), end, start, *own.encode("user\n"),
        420, *[422] * IMAGE_TOKENS, 421, *own.encode("\nIs it so?"), end, start, *own.encode("assistant\n"),
    ]  # fmt: skip
    assert generalist._model.generation_config.eos_token_id == end


def test_the_chat_string_is_the_published_one_letter_by_letter(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    generalist = TransformersGeneralist(converted(tmp_path / "meddr"))
    image = Image.fromarray(np.zeros((40, 90, 3), np.uint8))
    assert generalist._tokenizer.decode(
        encode_turn(generalist._processor, "Is it so?", [image])["input_ids"][0]
    ) == (
        "<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n"
        "<img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>\nIs it so?<|im_end|><|im_start|>assistant\n"
    )


def test_an_image_of_448_pixels_stands_for_256_tokens(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr", force_image_size=448)
    tokenizer = PublishedTokenizer(tmp_path / "meddr").fast()
    config = converted_config(read_source_config(tmp_path / "meddr"), tokenizer)
    assert (config.image_seq_length, config.text_config.eos_token_id) == (256, 7)


def test_a_picture_is_stretched_once_and_never_cut_into_tiles(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    generalist = TransformersGeneralist(converted(tmp_path / "meddr"))
    image = Image.fromarray(np.uint8(WIDE.pixels * 255)).convert("RGB")
    pixels = encode_turn(generalist._processor, QUESTION, [image])["pixel_values"]
    stretched = np.asarray(image.resize((56, 56), Image.Resampling.BICUBIC), np.float32) / 255
    expected = (stretched - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert pixels.shape == (1, 3, 56, 56)
    np.testing.assert_allclose(pixels[0].permute(1, 2, 0), expected, atol=1e-5)


def test_small_shards_hold_the_same_model_as_one(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    out = converted(tmp_path / "meddr", shard_bytes=20_000)
    assert len(list(out.glob("*.safetensors"))) > 3
    answer = TransformersGeneralist(out, max_new_tokens=6).answer(BRIEFING, [WIDE, WIDE])
    assert answer.image_seen
    assert {path.name for path in tmp_path.iterdir()} == {"meddr", "converted"}


def test_the_command_prints_the_plan_and_lines_that_config_understands(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    out = tmp_path / "converted"
    result = CliRunner().invoke(cli.app, ["models", "convert-meddr", str(tmp_path / "meddr"), str(out)])
    assert result.exit_code == 0, result.output
    assert "memory plan" in result.output
    assert "it was read back" in result.output.replace("\n", " ")
    line = result.output.split("meddr: ")[-1].strip()
    settings = Settings.model_validate(yaml.safe_load(line))
    assert settings.path == out
    told = CliRunner().invoke(cli.app, ["models", "memory", str(out)]).output
    assert "model.vision_tower" in told


def _without(key: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if name != key}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_without("mlp1.1.bias"), "Missing tensors: model.multi_modal_projector.linear_1.bias"),
        (lambda w: {**w, "vision_model.head.weight": torch.zeros(2)}, "Unexpected tensors: vision_model.head.weight"),
        (lambda w: {**w, "vision_model.encoder.layers.3.ls1": torch.zeros(24)}, r"Unexpected .*layers\.3\.ls1"),
        (lambda w: {**w, "mlp1.1.bias": torch.zeros(31)}, r"linear_1\.bias \(31,\) for \(32,\)"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_refused_by_the_names_of_its_tensors(
    change: Callable[[Weights], Weights], named: str, tmp_path: Path
) -> None:
    weights = write_published(tmp_path / "meddr")
    write_shards(tmp_path / "meddr", change(weights))
    with pytest.raises(BrokenBundleError, match=named):
        converted(tmp_path / "meddr")
    assert {path.name for path in tmp_path.iterdir()} == {"meddr"}


@pytest.mark.parametrize(
    "changes",
    [{"model_type": "llava"}, {"template": "internlm2-chat"}, {"pad2square": True}, {"llm_config": {"model_type": "internlm2"}}],
)  # fmt: skip
def test_a_model_of_another_layout_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    write_published(tmp_path / "meddr", **changes)
    with pytest.raises(ConfigError, match="can be converted"):
        converted(tmp_path / "meddr")


def test_an_index_that_names_a_lost_tensor_is_refused(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    index = tmp_path / "meddr" / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"]["mlp1.9.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(told))
    with pytest.raises(BrokenBundleError, match=r"mlp1\.9\.weight"):
        converted(tmp_path / "meddr")


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published(tmp_path / "meddr")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(OutOfResourcesError, match="are needed"):
        converted(tmp_path / "meddr")
    assert {path.name for path in tmp_path.iterdir()} == {"meddr"}


PUBLISHED_SIZE = {
    "vision_config": {"hidden_size": 3200, "num_attention_heads": 25, "intermediate_size": 12800, "num_hidden_layers": 45,
                      "image_size": 448, "patch_size": 14},
    "llm_config": {"model_type": "llama", "vocab_size": 64010, "hidden_size": 7168, "intermediate_size": 20480,
                   "num_hidden_layers": 60, "num_attention_heads": 56, "num_key_value_heads": 8,
                   "max_position_embeddings": 4096},
}  # fmt: skip


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryPlan, Any]:
    """The plan of MedDr in its published size, from configuration alone."""
    folder = tmp_path_factory.mktemp("size")
    write_published(folder / "meddr")
    config = converted_config(PUBLISHED_SIZE, PublishedTokenizer(folder / "meddr").fast())
    config.save_pretrained(folder / "out")
    return plan_checkpoint(folder / "out"), empty_model(config)


def test_the_plan_of_meddr_counts_forty_billion_parameters(full_size: tuple[MemoryPlan, Any]) -> None:
    plan, _ = full_size
    assert 39.9e9 < sum(part.parameters for part in plan.parts) < 40.3e9
    assert plan.cached * 2 == 2 * 60 * 8 * 128 * 4096 * 2
    assert plan.unquantised() == ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


def test_the_page_of_generalist_models_quotes_the_plan(full_size: tuple[MemoryPlan, Any]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "generalist_models.md").read_text()
    for line in list(full_size[0].lines(Machine(0, ())))[1:-1]:
        figures = re.findall(r"[\d,]{5,}|[\d.]+ GB", line.split(",", 1)[-1] if "in all" in line else line)
        assert " | ".join(figures) in page


@pytest.mark.parametrize(
    ("device", "quantization", "gpus", "remedy"),
    [
        ("cpu", "none", (), "larger GPUs"),
        ("cuda", "none", (80,), r"quantization: 8bit \(\d\d\.\d GB\) or quantization: 4bit"),
        ("cuda", "8bit", (40,), r"fit: quantization: 4bit"),
        ("cuda:1", "none", (80,), "torch sees 1 GPUs"),
        ("auto", "none", (40, 40), "2 GPUs together"),
    ],
)
def test_a_model_that_cannot_fit_is_refused_with_what_would(
    device: str, quantization: Any, gpus: tuple[int, ...], remedy: str, full_size: tuple[MemoryPlan, Any]
) -> None:
    machine = Machine(16 * GIGA, tuple((f"cuda:{i}", size * GIGA) for i, size in enumerate(gpus)))
    with pytest.raises(ConfigError, match=remedy):
        full_size[0].check(device, torch.bfloat16, quantization, machine)


@pytest.mark.parametrize(("quantization", "gpus"), [("none", (80, 80)), ("8bit", (80,)), ("4bit", (40,))])
def test_a_model_that_fits_is_let_through(
    quantization: Any, gpus: tuple[int, ...], full_size: tuple[MemoryPlan, Any]
) -> None:
    machine = Machine(16 * GIGA, tuple((f"cuda:{i}", size * GIGA) for i, size in enumerate(gpus)))
    full_size[0].check("auto", torch.bfloat16, quantization, machine)


def test_the_device_map_says_what_lies_on_which_gpu(full_size: tuple[MemoryPlan, Any]) -> None:
    machine = Machine(16 * GIGA, (("cuda:0", 48 * GIGA), ("cuda:1", 48 * GIGA)))
    lines = list(device_map(full_size[1], torch.bfloat16, machine))
    assert [line.split(":")[0] for line in lines] == ["device 0", "device 1"]
    assert "model.vision_tower" in lines[0]
    assert lines[1].endswith("lm_head")


def test_a_model_that_is_too_large_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published(tmp_path / "meddr")
    generalist = TransformersGeneralist(converted(tmp_path / "meddr"))
    monkeypatch.setattr("gsco_pacs.adapters.transformers_generalist.this_machine", lambda: Machine(1000, ()))
    with pytest.raises(ConfigError, match="the RAM has"):
        generalist.answer(BRIEFING, [WIDE])


def test_quantising_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    with pytest.raises(ConfigError, match="pip install bitsandbytes"):
        TransformersGeneralist(converted(tmp_path / "meddr"), quantization="4bit")


def test_a_quantised_weight_is_counted_with_its_scale() -> None:
    plan = MemoryPlan((Part("model.language_model", 110, 100),), 0)
    part = plan.parts[0]
    sizes = [plan.weights(part, torch.bfloat16, form) for form in ("none", "8bit", "4bit")]
    assert sizes == [220, 120, 76]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_trial_without_a_gpu_says_that_it_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a GPU"):
        try_memory(tmp_path, torch.bfloat16)


def test_the_longest_prompt_of_a_trial_leaves_room_for_its_answer(tmp_path: Path) -> None:
    write_published(tmp_path / "meddr")
    tokens = longest_prompt(load_processor(converted(tmp_path / "meddr")))["input_ids"].shape[1]
    assert CONTEXT - ANSWER_TOKENS - 10 < tokens <= CONTEXT - ANSWER_TOKENS
