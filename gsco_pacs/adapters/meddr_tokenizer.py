"""The published SentencePiece tokenizer of MedDr as a fast one that needs no SentencePiece, checked against the original."""

import json
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from gsco_pacs.domain.errors import BrokenBundleError, ConfigError

CONTEXT_TOKEN = "<IMG_CONTEXT>"  # noqa: S105 - a token of text
END_OF_TURN = "<|im_end|>"
_SPACE = "▁"


class PublishedTokenizer:
    """tokenizer.model and its settings, read by SentencePiece itself as the published code does."""

    def __init__(self, source: Path) -> None:
        """ConfigError if SentencePiece is not installed; BrokenBundleError if the files are missing or lack a token."""
        if find_spec("sentencepiece") is None:
            raise ConfigError("Converting needs SentencePiece: pip install 'gsco-pacs[meddr]'")
        from sentencepiece import SentencePieceProcessor  # noqa: PLC0415 - an extra

        try:
            self._pieces: Any = SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
            self._settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BrokenBundleError(
                f"{source}: tokenizer.model and tokenizer_config.json are needed."
            ) from error
        self._added = self._read_added(source)
        missing = {CONTEXT_TOKEN, "<img>", "</img>", "<|im_start|>", END_OF_TURN} - set(self._added)
        if missing:
            raise BrokenBundleError(f"{source}: the tokenizer lacks {', '.join(sorted(missing))}.")
        self._legacy = bool(self._settings.get("legacy", True))
        self._prefixed = self._pieces.encode("a", out_type=str)[0].startswith(_SPACE)

    def ids(self, text: str) -> list[int]:
        """``text`` as the published code reads it: cut at the added tokens, SentencePiece for what is between."""
        pattern = "|".join(re.escape(token) for token in sorted(self._added, key=len, reverse=True))
        found = [self._token_id("bos_token")] if self._settings.get("add_bos_token", True) else []
        for part in re.split(f"({pattern})", text):
            if part in self._added:
                found.append(self._added[part])
            elif part:
                found += self._between(part)
        return found

    def fast(self) -> PreTrainedTokenizerFast:
        """The same tokenizer for the tokenizers library."""
        unknown, bos = self._token("unk_token"), self._token("bos_token")
        vocabulary = {self._pieces.id_to_piece(i): i for i in range(self._pieces.get_piece_size())}
        raw = Tokenizer(
            models.BPE(vocab=vocabulary, merges=generate_merges(vocabulary, skip_tokens=self._added), unk_token=unknown, fuse_unk=True, byte_fallback=True)
        )  # fmt: skip
        prefix = ("always" if self._legacy else "first") if self._prefixed else "never"
        raw.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=prefix, split=False)
        steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        raw.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if self._prefixed else steps)
        for token in sorted(self._added, key=lambda name: self._added[name]):
            raw.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        if self._settings.get("add_bos_token", True):
            start = (bos, self._token_id("bos_token"))
            raw.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[start])
        return PreTrainedTokenizerFast(
            tokenizer_object=raw, unk_token=unknown, bos_token=bos, eos_token=END_OF_TURN, padding_side="left",
            # The processor asks for a video token; the unknown one is never written into a prompt.
            extra_special_tokens={
                "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": CONTEXT_TOKEN,
                "video_token": unknown,
            },
        )  # fmt: skip

    def check(self, fast: PreTrainedTokenizerFast, texts: Iterable[str]) -> None:
        """BrokenBundleError if ``fast`` moved an added token or reads one of ``texts`` otherwise than the original."""
        moved = [token for token, i in self._added.items() if fast.convert_tokens_to_ids(token) != i]
        if moved:
            raise BrokenBundleError(f"These tokens would get other ids: {', '.join(sorted(moved))}.")
        for text in texts:
            if fast(text)["input_ids"] != self.ids(text):
                raise BrokenBundleError(f"The converted tokenizer reads this text otherwise: {text!r}.")

    def _between(self, text: str) -> list[int]:
        if self._legacy or not self._prefixed:
            return list(self._pieces.encode(text))
        # The later reading has no prefix inside a text: an unknown token is read in front and cut off again.
        unknown = self._token("unk_token")
        return list(self._pieces.encode(unknown + text))[len(self._pieces.encode(unknown)) :]

    def _read_added(self, source: Path) -> dict[str, int]:
        listed = self._settings.get("added_tokens_decoder") or {}
        added = {str(entry["content"]): int(i) for i, entry in listed.items()}
        beside = source / "added_tokens.json"
        if beside.is_file():
            added.update(json.loads(beside.read_text(encoding="utf-8")))
        for token in ("<|im_start|>", END_OF_TURN):  # they may stand in tokenizer.model alone
            if token not in added and self._pieces.piece_to_id(token) != self._pieces.unk_id():
                added[token] = self._pieces.piece_to_id(token)
        return added

    def _token(self, name: str) -> str:
        """The text of a special token, as the settings name it, else as tokenizer.model does."""
        given = self._settings.get(name)
        own = {"unk_token": self._pieces.unk_id(), "bos_token": self._pieces.bos_id()}
        text = given["content"] if isinstance(given, dict) else given
        return str(text or self._pieces.id_to_piece(own[name]))

    def _token_id(self, name: str) -> int:
        token = self._token(name)
        return self._added.get(token, int(self._pieces.piece_to_id(token)))
