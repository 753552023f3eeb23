"""Measures of a report's text that need no network: overlap of words by maintained packages, and agreement of labels.

Overlap says little about health: a report that calls everything normal reads much like most references.
"""

import importlib.util
import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.domain.findings import Presence
from gsco_pacs.evaluation.decisions import Decisions, table
from gsco_pacs.grounding.concepts import CONCEPTS
from gsco_pacs.grounding.labeller import mentions, sentences
from gsco_pacs.grounding.lexicon import Lexicon, Term

WORDNET = Path("/usr/share/wordnet")
"""Where Debian's wordnet-base and wordnet-sense-index put their files."""
BY_PATH = {
    "CheXbert": "--chexbert",
    "RadGraph": "--radgraph",
    "BERTScore": "--bert-score",
    "RadCliQ": "--radgraph, --chexbert and --bert-score",
    "RaTEScore": "--ratescore",
    "GREEN": "--green",
}
"""Measures that need a network, and the options that give its folder: no package that can be installed brings the weights."""

_WORD = re.compile(r"\w+(?:[-']\w+)*|[.,;:]")
_Corpus = Sequence[tuple[list[str], list[str]]]
"""(said, reference) in words."""


class TextMeasure(Protocol):
    """Compares reports by a network. Implemented by the modules that evaluation.model_measures loads."""

    def figures(self, said: Sequence[str], references: Sequence[str]) -> Mapping[str, float]:
        """Measure -> value over all reports; ``said`` and ``references`` belong together."""


def text_figures(
    said: Sequence[str], references: Sequence[str], measures: Mapping[str, TextMeasure] | None = None
) -> dict[str, float | str]:
    """Measure -> value over all reports, or why there is none; ``said`` and ``references`` belong together."""
    corpus = [(words(text), words(reference)) for text, reference in zip(said, references, strict=True)]
    found: dict[str, float | str] = {}
    for name, package, measure in _MEASURES:
        missing = _missing(name, package)
        found |= {name: missing} if missing else measure(corpus)
    decided = labelled(said, references)
    weights = np.ones((1, len(said)))
    found["label macro-F1"] = float(decided.macro_f1(weights)[0])
    found["label micro-F1"] = micro_f1(decided)
    for name, options in BY_PATH.items():
        own = (measures or {}).get(name)
        found |= (
            own.figures(said, references) if own else {name: f"not measured: no weights by path ({options})"}
        )
    return found


def words(text: str) -> list[str]:
    """Lower-case words and marks."""
    return _WORD.findall(text.lower())


def labelled(said: Sequence[str], references: Sequence[str]) -> Decisions:
    """Which findings each report states or suspects, by the rule labeller; the reference's are the truth."""
    names = [concept.synonyms[0] for concept in CONCEPTS]
    right, told = (table([stated(text) for text in texts], names) for texts in (references, said))
    return Decisions(right, told, single=False)


def stated(text: str) -> frozenset[str]:
    """The findings that a report says are there or may be there."""
    found = (mention for sentence in sentences(text) for mention in mentions(sentence, _lexicon()))
    return frozenset(mention.label for mention in found if mention.presence is not Presence.ABSENT)


def micro_f1(decided: Decisions) -> float:
    """F1 over all pairs of report and finding; NaN if neither side states any."""
    both = int(decided.truth.sum() + decided.said.sum())
    return 2 * int((decided.truth & decided.said).sum()) / both if both else float("nan")


def right_answers(said: str, answer: str, *, closed: bool) -> float:
    """A question's score: closed, 1 if the answer is the right one, else 0; open, the share of the right words that occur.

    A closed answer may go on after its first word ("Yes, there is"), unless it says both yes and no.
    """
    told, right = _plain(said), _plain(answer)
    if not closed:
        return sum(word in told for word in right) / len(right) if right else 0.0
    if right in (["yes"], ["no"]):
        return float(told[:1] == right and not {"yes", "no"} <= set(told))
    return float(told == right)


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@cache
def _lexicon() -> Lexicon:
    return Lexicon(Term(concept.synonyms[0], concept.synonyms[0]) for concept in CONCEPTS)


def _missing(name: str, package: str) -> str:
    if importlib.util.find_spec(package) is None:
        return f"not available: install {package}"
    if name == "METEOR" and not (WORDNET / "index.sense").is_file():
        return "not available: install wordnet-base and wordnet-sense-index (Debian)"
    return ""


def bleu(corpus: _Corpus) -> dict[str, float]:
    """BLEU-1 to BLEU-4 over all pairs."""
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

    references, said = [[reference] for _, reference in corpus], [told for told, _ in corpus]
    smooth = SmoothingFunction().method1  # without it one missing 4-gram makes nought of everything
    return {
        f"BLEU-{n}": float(corpus_bleu(references, said, weights=[1 / n] * n, smoothing_function=smooth))
        for n in range(1, 5)
    }


def _rouge(corpus: _Corpus) -> dict[str, float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    scores = [scorer.score(" ".join(right), " ".join(said))["rougeL"].fmeasure for said, right in corpus]
    return {"ROUGE-L": float(np.mean(scores))}


def _meteor(corpus: _Corpus) -> dict[str, float]:
    from nltk.translate.meteor_score import single_meteor_score

    wordnet = _wordnet()
    scores = [single_meteor_score(right, said, wordnet=wordnet) for said, right in corpus]
    return {"METEOR": float(np.mean(scores))}


@cache
def _wordnet() -> Any:
    """Debian's WordNet, read by nltk; METEOR asks it for synonyms only (of stems, as nltk does it)."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.data import FileSystemPathPointer

    class Synonyms(WordNetCorpusReader):  # type: ignore[misc]
        def open(self, file: str) -> Any:
            """Debian leaves out the names of the lexicographers' files, of which there are 45."""
            if file == "lexnames":
                return io.StringIO("".join(f"{n:02} file{n} 0\n" for n in range(45)))
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """There is no other WordNet to map to."""

    nltk.data.path.append(str(WORDNET))  # nltk opens files below its own folders only
    return Synonyms(FileSystemPathPointer(str(WORDNET)), None)


def _cider(corpus: _Corpus) -> dict[str, float]:
    """CIDEr on our own words: only its tokenizer is Java, and it is not used."""
    from pycocoevalcap.cider.cider import Cider

    said = {n: [" ".join(told)] for n, (told, _) in enumerate(corpus)}
    references = {n: [" ".join(right)] for n, (_, right) in enumerate(corpus)}
    return {"CIDEr": float(Cider().compute_score(references, said)[0])}


_MEASURES: tuple[tuple[str, str, Callable[[_Corpus], Mapping[str, float]]], ...] = (
    ("BLEU", "nltk", bleu),
    ("ROUGE-L", "rouge_score", _rouge),
    ("METEOR", "nltk", _meteor),
    ("CIDEr", "pycocoevalcap", _cider),
)


def mean_of(scores: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The weighted mean of scores that belong to cases, as a figure for the bootstrap."""
    return lambda weights: weights @ scores / np.maximum(weights.sum(axis=1), 1e-12)
