"""A generalist on a server that speaks the OpenAI chat protocol (vLLM, llama.cpp)."""

import base64
import io
import json
import os
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import httpx
import numpy as np
from PIL import Image

from gsco_pacs.domain.errors import ConfigError, PeerBusyError, PeerUnavailableError, PermanentError
from gsco_pacs.domain.findings import Answer, Briefing, ModelIdentity
from gsco_pacs.ports import Picture
from gsco_pacs.settings.generalists import OpenAIGeneralist as OpenAIGeneralistSettings

_BLIND = re.compile(r"image input is not supported|not a multimodal model|at most 0 image", re.IGNORECASE)
"""How llama.cpp and vLLM say that a model takes no images."""
_NOT_UNDERSTOOD = (400, 422)
"""What servers answer to a request with a part that they do not know."""
_SEED = 0


class OpenAIGeneralist:
    """One model on one server, which gets 8-bit pixels and the prompt and nothing else of a study."""

    def __init__(self, settings: OpenAIGeneralistSettings) -> None:
        """ConfigError if the base URL is none, or if the key's environment variable is named but not set."""
        variable = settings.api_key_env
        key = os.environ.get(variable, "") if variable else ""
        if variable and not key:
            raise ConfigError(
                f"The environment variable {variable} is not set: it must hold the server's key."
            )
        if not re.match(r"https?://[^/\s]", settings.base_url):
            raise ConfigError(
                f"base_url {settings.base_url!r} must begin with http:// or https:// and a host."
            )
        self._settings = settings
        # Only the configured server is spoken to: no redirects, no proxies from the environment.
        self._client = httpx.Client(
            base_url=settings.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=settings.timeout_seconds,
            follow_redirects=False,
            trust_env=False,
        )

    @property
    def identity(self) -> ModelIdentity:
        """The model as the server calls it; the hash is empty because the weights cannot be seen from here."""
        parameters = ("temperature=0", f"seed={_SEED}", f"max_tokens={self._settings.max_new_tokens}")
        return ModelIdentity(self._settings.model, "served", "", parameters)

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
        """One greedy answer; without the pictures (and marked so) if the model takes none.

        A constrained one is asked for once more without the constraint if the server does not understand it.

        PeerUnavailableError or PeerBusyError if it may pass, PermanentError if the server refuses the request.
        """
        self._ready  # noqa: B018 - asked once
        images = [self._part(picture) for picture in pictures]
        response = self._post(briefing, images)
        image_seen = bool(images)
        if images and response.status_code >= 400 and _BLIND.search(response.text):
            response = self._post(briefing, [])
            image_seen = False
        content = _checked(response)
        choice, usage = _choice(content), _json(content).get("usage") or {}
        return Answer(
            text=_text(str(choice["message"].get("content") or "").strip(), briefing),
            model=self.identity,
            image_seen=image_seen,
            finished=choice.get("finish_reason") == "stop",
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
        )

    @cached_property
    def _ready(self) -> bool:
        """True once the server has answered and knows the model; ConfigError if it knows only others."""
        listed = _json(_checked(self._request("GET", "models"))).get("data") or []
        known = [str(entry.get("id")) for entry in listed]
        if known and self._settings.model not in known:
            raise ConfigError(
                f"The server does not know the model {self._settings.model!r}, only {', '.join(known)}."
            )
        return True

    def _post(self, briefing: Briefing, images: list[dict[str, Any]]) -> httpx.Response:
        prompt = briefing.prompt
        content = [*images, {"type": "text", "text": prompt}] if images else prompt
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "seed": _SEED,
            "max_tokens": self._settings.max_new_tokens,
        }
        if not briefing.constrained:
            return self._ask(body)
        response = self._ask(body | {"response_format": _options_only(briefing)})
        # Blind servers are told apart by `answer`; any other refusal may mean that the format is not known there.
        refused = response.status_code in _NOT_UNDERSTOOD and not _BLIND.search(response.text)
        return self._ask(body) if refused else response

    def _ask(self, body: dict[str, Any]) -> httpx.Response:
        return self._request("POST", "chat/completions", json=body)

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **content)
        except httpx.TransportError as error:
            raise PeerUnavailableError(f"The generalist's server: {type(error).__name__}.") from error

    def _part(self, picture: Picture) -> dict[str, Any]:
        encoded = base64.b64encode(png(picture, self._settings.longest_edge)).decode("ascii")
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}


def _options_only(briefing: Briefing) -> dict[str, Any]:
    """The response format that lets the server write nothing but options (llama.cpp, vLLM)."""
    most = 1 if briefing.single else len(briefing.options)
    items = {"type": "array", "items": {"enum": list(briefing.options)}, "minItems": 1, "maxItems": most}
    schema = {
        "type": "object",
        "properties": {"diagnoses": items},
        "required": ["diagnoses"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "diagnoses", "strict": True, "schema": schema}}


def _text(content: str, briefing: Briefing) -> str:
    """The answer as a list of options if it was made by `_options_only`; as it came if the server ignored that."""
    if not briefing.constrained:
        return content
    try:
        return ",".join(dict.fromkeys(json.loads(content)["diagnoses"]))
    except (ValueError, KeyError, TypeError):
        return content


def png(picture: Picture, longest_edge: int) -> bytes:
    """``picture`` as an 8-bit PNG without any metadata, scaled down to ``longest_edge`` pixels at most."""
    image = Image.fromarray(np.clip(np.rint(picture.pixels * 255), 0, 255).astype(np.uint8))
    image.thumbnail((longest_edge, longest_edge), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _checked(response: httpx.Response) -> httpx.Response:
    """``response`` if it is a success; its status alone goes into the error, since a body may quote the request."""
    status = response.status_code
    if status == 429:
        raise PeerBusyError("The generalist's server has too much to do (429).")
    if status >= 500:
        raise PeerUnavailableError(f"The generalist's server failed ({status}).")
    if status >= 300:
        raise PermanentError(f"The generalist's server refused the request ({status}).")
    return response


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError as error:
        raise PermanentError("The generalist's server did not answer with JSON.") from error
    if not isinstance(content, dict):
        raise PermanentError("The generalist's server did not answer with a JSON object.")
    return content


def _choice(response: httpx.Response) -> dict[str, Any]:
    choices = _json(response).get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0].get("message"), dict)):
        raise PermanentError("The generalist's server answered without a choice.")
    found: dict[str, Any] = choices[0]
    return found
