"""Turns pictures and a prompt into what our own small generalist reads."""

from collections.abc import Sequence
from typing import Any

from PIL import Image
from transformers import BatchFeature, ProcessorMixin, ViTImageProcessorPil

from gsco_pacs.adapters.photograph_network import MEAN, STD

IMAGE_TOKEN = "<empty_output>"  # noqa: S105 - a token that SmolLM2's tokenizer has and nobody uses
# Pictures stand after the text, so that what they show stands right before the answer, always equally far from it.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }}{% endfor %}"
    "{% for p in m['content'] if p['type'] == 'image' %}" + IMAGE_TOKEN + "{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class SmallGeneralistProcessor(ProcessorMixin):
    """Every image token becomes as many as a picture has places, and pictures become squares."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        image_token: str = IMAGE_TOKEN,
        image_tokens: int = 12,
    ) -> None:
        self.image_token, self.image_tokens = image_token, image_tokens
        super().__init__(image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]

    def __call__(
        self, images: Sequence[Image.Image] | None = None, text: str | Sequence[str] = "", **_: Any
    ) -> BatchFeature:
        """``input_ids`` and ``attention_mask``, and ``pixel_values`` if there are pictures."""
        texts = [text] if isinstance(text, str) else list(text)
        filled = [line.replace(self.image_token, self.image_token * self.image_tokens) for line in texts]
        encoded = self.tokenizer(filled, add_special_tokens=False, return_tensors="pt")
        seen = self.image_processor(list(images), return_tensors="pt") if images else {}
        return BatchFeature({**encoded, **seen})


def make_processor(
    tokenizer: Any, image_size: int, image_tokens: int, image_token: str = IMAGE_TOKEN
) -> SmallGeneralistProcessor:
    """The processor with the photograph network's normalisation."""
    side = {"height": image_size, "width": image_size}
    images = ViTImageProcessorPil(size=side, image_mean=[MEAN] * 3, image_std=[STD] * 3)
    template = CHAT_TEMPLATE.replace(IMAGE_TOKEN, image_token)
    return SmallGeneralistProcessor(images, tokenizer, template, image_token, image_tokens)
