"""Our own small generalist: an image encoder, a projector and the first layers of a small language model.

A directory holds only what was trained. The image encoder and the language model are filled in from the packages that
carry them; a configuration with ``base: none`` (tests) holds everything itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationMixin,
    LlamaConfig,
    LlamaModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from gsco_pacs.adapters.arbiter import arbiter_for
from gsco_pacs.adapters.networks import EfficientNetLite0, in_channels_last
from gsco_pacs.adapters.photograph_network import imagenet_weights, photographic
from gsco_pacs.adapters.small_llm import packaged_layers
from gsco_pacs.adapters.small_processor import SmallGeneralistProcessor
from gsco_pacs.domain.errors import ConfigError

MODEL_TYPE = "gsco_small"
WEIGHTS = "model.safetensors"
_MIDDLE_STAGE = 4


class SmallGeneralistConfig(PretrainedConfig):
    """What the model is made of, and the words that its eye knows."""

    model_type = MODEL_TYPE
    sub_configs = {"text_config": LlamaConfig}  # noqa: RUF012 - transformers' own form

    def __init__(
        self,
        text_config: Mapping[str, Any] | LlamaConfig | None = None,
        base: Literal["packages", "none"] = "packages",
        layers: Sequence[int] = (0,),
        image_size: int = 224,
        grid: int = 3,
        words: Sequence[Sequence[int]] = (),
        digits: Sequence[int] = (),
        named: int = 3,
        image_token_id: int = 16,
        arbiters: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        self.text_config = (
            LlamaConfig(**text_config) if isinstance(text_config, Mapping) else text_config or LlamaConfig()
        )
        self.base = base
        self.layers = list(layers)
        self.image_size = image_size
        self.grid = grid
        self.words = [list(word) for word in words]
        """The tokens of each word that the eye may recognise, all equally many (filled up with the end token)."""
        self.digits = list(digits)
        """The tokens of 0 to 9."""
        self.named = named
        """So many words are named of a picture."""
        self.image_token_id = image_token_id
        self.arbiters = list(arbiters)
        """For each task how far each source is to be trusted, see `adapters.arbiter`."""
        super().__init__(**kwargs)

    @property
    def image_tokens(self) -> int:
        """How many tokens stand for one picture: the cells of the grid, the whole, and the words with their percents."""
        return self.grid**2 + 1 + self.named * (2 + len(self.words[0]))


class Eye(nn.Module):
    """The photograph network without its classifier: [n, cells + 1, features], the last for the whole picture."""

    features = 1280 + 112

    def __init__(self, image_size: int, grid: int) -> None:
        super().__init__()
        self.network = EfficientNetLite0(num_classes=1, image_size=image_size)
        self.network.add_module("_fc", nn.Identity())
        self._grid = grid

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Features of RGB pictures; the network looks at their grey mean."""
        grey = pixel_values.mean(1, keepdim=True).contiguous(memory_format=torch.channels_last)
        middle, x = self.network.maps(grey, _MIDDLE_STAGE)
        cells = torch.cat([functional.adaptive_avg_pool2d(map_, self._grid) for map_ in (x, middle)], 1)
        whole = torch.cat([x.mean((2, 3)), middle.mean((2, 3))], 1)
        return torch.cat([cells.flatten(2).transpose(1, 2), whole[:, None]], 1)


class Projector(nn.Module):
    """From the eye's features to tokens: one for each cell and the whole, and the words that fit best, with percents.

    The words are recognised by one linear layer, trained before all else. A word stands as it stands in a briefing:
    two digits and then the word, so that the language model reads its own eye as it reads a specialist.
    """

    def __init__(self, config: SmallGeneralistConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.mean = nn.Parameter(torch.zeros(Eye.features), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(Eye.features), requires_grad=False)
        self.first = nn.Linear(Eye.features, width)
        self.second = nn.Linear(width, width)
        self.place = nn.Parameter(torch.zeros(config.grid**2 + 1, width))
        self.scale = nn.Parameter(torch.tensor(0.1))
        self.recognise = nn.Linear(Eye.features, len(config.words))
        self._named = config.named

    def standard(self, features: Tensor) -> Tensor:
        """Features with mean 0 and spread 1 over the training images, cut at 5."""
        return ((features - self.mean) / self.spread).clamp(-5, 5)

    def evidence(self, standard: Tensor) -> Tensor:
        """Log-odds of every word, [n, words], by the features of the whole picture."""
        out: Tensor = self.recognise(standard[:, -1])
        return out

    def tokens(self, standard: Tensor, evidence: Tensor, words: Tensor, digits: Tensor) -> Tensor:
        """[n, tokens, width], the best word last; ``words``: embeddings of their tokens, ``digits``: those of 0 to 9."""
        seen = functional.gelu(self.first(standard))
        seen = functional.normalize(self.second(seen), dim=-1) * words.shape[-1] ** 0.5 * self.scale
        shares, best = (found.flip(1) for found in evidence.softmax(-1).topk(self._named))
        percents = (shares * 100).round().long().clamp(1, 99)[..., None]
        named = torch.cat([digits[percents // 10], digits[percents % 10], words[best]], 2)
        return torch.cat([seen + self.place, named.flatten(1, 2)], 1)


class SmallGeneralist(PreTrainedModel, GenerationMixin):
    """The model in the form of transformers: AutoModelForImageTextToText loads and generates with it."""

    config_class = SmallGeneralistConfig
    config: SmallGeneralistConfig
    base_model_prefix = "language"
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: SmallGeneralistConfig) -> None:
        super().__init__(config)
        self.eye = Eye(config.image_size, config.grid)
        self.projector = Projector(config)
        self.language = LlamaModel(config.text_config)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(  # type: ignore[override]  # what transformers' loader would fetch does not lie in one file
        cls,
        path: str | Path,
        *_: Any,
        config: SmallGeneralistConfig | None = None,
        dtype: torch.dtype | None = None,
        **__: Any,
    ) -> Self:
        """The model in the directory ``path``, filled up from the packages; ConfigError if one is missing."""
        config = config or SmallGeneralistConfig.from_pretrained(path)
        model = cls(config)
        try:
            model.load_state_dict(completed(model, load_file(Path(path) / WEIGHTS)))
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise ConfigError(f"{path}: {WEIGHTS} does not fit config.json.") from error
        in_channels_last(model.eye)
        moved: Self = model.train(mode=False).to(dtype or torch.float32)
        return moved

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of the language model, which is also its last layer."""
        return self.language.embed_tokens

    def word_embeddings(self) -> Tensor:
        """The embeddings of each word's tokens, [words, tokens, width]."""
        embedding: Tensor = self.language.embed_tokens.weight
        return embedding[torch.tensor(self.config.words)]

    @torch.inference_mode()
    def weighed(
        self,
        prompt: str,
        inputs: Mapping[str, Tensor],
        options: Sequence[str],
        likelihoods: Tensor,
        *,
        single: bool,
    ) -> Tensor:
        """The log-odds of the options after the arbiter of their task; as they are if it has none."""
        arbiter = arbiter_for(self.config.arbiters, prompt, options, single=single)
        if arbiter is None:
            return likelihoods
        evidence = None
        if "pixel_values" in inputs:
            standard = self.projector.standard(self.eye(inputs["pixel_values"]))
            evidence = self.projector.evidence(standard).mean(0).double().numpy(force=True)
        return torch.from_numpy(arbiter.log_odds(prompt, evidence, likelihoods.double().numpy(force=True)))

    def embedded(self, input_ids: Tensor, features: Tensor | None, evidence: Tensor | None = None) -> Tensor:
        """Embeddings of the tokens, those of the picture at their places; ``features`` as the eye gives them."""
        embeddings: Tensor = self.language.embed_tokens(input_ids)
        if features is None:
            return embeddings
        standard = self.projector.standard(features)
        evidence = self.projector.evidence(standard) if evidence is None else evidence
        digits = self.language.embed_tokens.weight[self.config.digits]
        tokens = self.projector.tokens(standard, evidence, self.word_embeddings(), digits)
        places = (input_ids == self.config.image_token_id)[..., None]
        return embeddings.masked_scatter(places, tokens.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        use_cache: bool | None = None,  # noqa: FBT001 - transformers' own form
        logits_to_keep: int = 0,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        """The logits of the next token at every place (the last ``logits_to_keep`` if that is not 0)."""
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("input_ids or inputs_embeds must be given.")
            looks = pixel_values is not None and bool((input_ids == self.config.image_token_id).any())
            inputs_embeds = self.embedded(input_ids, self.eye(pixel_values) if looks else None)
        read = self.language(
            attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values,
            inputs_embeds=inputs_embeds, use_cache=use_cache,
        )  # fmt: skip
        logits = functional.linear(
            read.last_hidden_state[:, -logits_to_keep:], self.language.embed_tokens.weight
        )
        return CausalLMOutputWithPast(logits=logits, past_key_values=read.past_key_values)


def completed(model: SmallGeneralist, trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All weights of ``model``: those of the packages, replaced by what was trained."""
    given = {name: value.float() for name, value in trained.items()}
    if model.config.base == "none":
        return given
    weights = {f"language.{name}": value for name, value in packaged_layers(model.config.layers).items()}
    eye = photographic(imagenet_weights(), model.eye.network.state_dict())
    weights |= {f"eye.network.{name}": value for name, value in eye.items() if not name.startswith("_fc.")}
    return weights | given


AutoConfig.register(MODEL_TYPE, SmallGeneralistConfig)
AutoModelForImageTextToText.register(SmallGeneralistConfig, SmallGeneralist)
AutoProcessor.register(SmallGeneralistConfig, SmallGeneralistProcessor)
