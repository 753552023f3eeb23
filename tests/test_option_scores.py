"""The likelihood of each option as the answer, against the same number worked out the long way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gsco_pacs.adapters.checkpoints import encode_turn
from gsco_pacs.adapters.option_scores import likeliest
from gsco_pacs.adapters.transformers_generalist import TransformersGeneralist, _image
from gsco_pacs.domain.findings import Briefing, Mode
from tests.test_generalists import GREY
from tests.tiny_checkpoints import FAMILIES, build, llama

OPTIONS = ("No Finding", "Mass", "Effusion")
SINGLE = Briefing(Mode.GENERALIST, "Which?", "options-single-v1", "0" * 64, OPTIONS, "No Finding")
SEVERAL = replace(SINGLE, template="options-v1")


def loud(generalist: TransformersGeneralist) -> TransformersGeneralist:
    """With weights so large that options differ: freshly drawn ones find all alike."""
    for weights in generalist._model.parameters():
        weights.data *= 4
    return generalist


def log_likelihood(generalist: TransformersGeneralist, text: str) -> float:
    """Of ``text`` as the beginning of the answer, every token predicted from a reading of all that is before it."""
    model: Any = generalist._model
    images = [_image(GREY)] if generalist._sees else []
    inputs = dict(encode_turn(generalist._processor, SINGLE.prompt, images))
    tokens = generalist._tokenizer(text, add_special_tokens=False)["input_ids"]
    written: list[int] = []
    total = 0.0
    for token in tokens:
        with torch.inference_mode():
            logits = model(**_followed(model, inputs, written)).logits
        total += float(logits[0, -1].log_softmax(-1)[token])
        written.append(token)
    return total


def _followed(model: Any, inputs: dict[str, torch.Tensor], written: list[int]) -> dict[str, torch.Tensor]:
    if model.config.is_encoder_decoder:
        start = model.generation_config.decoder_start_token_id
        return {**inputs, "decoder_input_ids": torch.tensor([[start, *written]])}
    more = torch.tensor([written], dtype=torch.long)
    longer = {"input_ids": more, "attention_mask": torch.ones_like(more)}
    same_row = {
        name: torch.cat([value, torch.zeros_like(more)], dim=1)
        for name, value in inputs.items()
        if name not in longer and value.shape == inputs["input_ids"].shape
    }
    return {
        **inputs,
        **{name: torch.cat([inputs[name], value], dim=1) for name, value in longer.items()},
        **same_row,
    }


@pytest.mark.parametrize("family", [*FAMILIES.values(), llama], ids=lambda family: family.__name__)
def test_the_likelihoods_of_one_option_sum_to_one_and_are_those_of_reading_everything_anew(
    family: Any, tmp_path: Path
) -> None:
    generalist = loud(TransformersGeneralist(build(family, tmp_path)))
    answer = generalist.answer(SINGLE, [GREY])
    expected = torch.tensor([log_likelihood(generalist, option) for option in OPTIONS]).softmax(0)
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-5)
    assert list(answer.scores.values()) == pytest.approx(expected.tolist(), abs=2e-4)
    assert answer.text == max(OPTIONS, key=lambda option: answer.scores[option])


def test_where_several_may_apply_each_option_stands_for_itself(tmp_path: Path) -> None:
    generalist = loud(TransformersGeneralist(build(llama, tmp_path)))
    scores = generalist.answer(SEVERAL, []).scores
    for option in OPTIONS:
        odds = log_likelihood(generalist, f"{option}: y") - log_likelihood(generalist, f"{option}: n")
        assert scores[option] == pytest.approx(float(torch.tensor(odds).sigmoid()), abs=2e-4)


def test_the_published_prompt_is_still_answered_freely_and_scored_beside_it(tmp_path: Path) -> None:
    generalist = TransformersGeneralist(build(llama, tmp_path), max_new_tokens=3)
    answer = generalist.answer(replace(SINGLE, template="gsco-single-v1"), [])
    assert answer.text not in OPTIONS
    assert set(answer.scores) == set(OPTIONS)


def test_a_report_has_no_scores(tmp_path: Path) -> None:
    generalist = TransformersGeneralist(build(llama, tmp_path), max_new_tokens=3)
    assert generalist.answer(replace(SINGLE, template="briefed-v1"), []).scores == {}


@pytest.mark.parametrize(
    ("scores", "text"),
    [((0.9, 0.6, 0.7), "Mass,Effusion"), ((0.1, 0.4, 0.3), "No Finding"), ((0.8, 0.2, 0.5), "Effusion")],
)
def test_of_several_options_all_that_are_likelier_there_than_not_are_named_and_else_the_normal_one(
    scores: tuple[float, ...], text: str
) -> None:
    assert likeliest(SEVERAL, dict(zip(OPTIONS, scores, strict=True))) == text
