"""RadCliQ of reports (Yu et al. 2023): how many errors a radiologist would count, from four measures; lower is better."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.nn.functional import cosine_similarity

from gsco_pacs.evaluation.bert_score import BertScore
from gsco_pacs.evaluation.chexbert import CheXbert
from gsco_pacs.evaluation.radgraph import RadGraph
from gsco_pacs.evaluation.text_metrics import bleu


@dataclass(frozen=True)
class Fit:
    """A published linear fit over [RadGraph, BERTScore, CheXbert, BLEU-2], each scaled by mean and deviation."""

    mean: tuple[float, float, float, float]
    deviation: tuple[float, float, float, float]
    weights: tuple[float, float, float, float]
    constant: float


FITS = {
    "RadCliQ-v0": Fit(
        (0.5398376019082272, 0.6312549595000001, 0.7716797866672277, 0.4607372064809605),
        (0.3018344440559102, 0.22466950746141123, 0.24750333805236252, 0.30336670936092264),
        (-0.4796252644863446, -0.6762170542369337, -0.46366575161751994, 0.2165861905287535),
        1.641666666666666,
    ),
    "RadCliQ-v1": Fit(
        (0.5379231241355762, 0.6175725628125001, 0.7647942121140658, 0.44738335396242174),
        (0.3028258411486429, 0.22430938459304575, 0.2539439110169773, 0.2989271671041838),
        (-0.37708368261038905, -0.37030009974480316, -0.25261621789593225, 4.315048405024756e-12),
        2.466552561323256e-10,
    ),
}
"""From composite_metric_model.pkl with normalizer.pkl, and radcliq-v1.pkl, of github.com/rajpurkarlab/CXR-Report-Metric."""


@dataclass(frozen=True)
class RadCliQ:
    """Joins the measures that it was fitted on."""

    radgraph: RadGraph
    bert_score: BertScore
    chexbert: CheXbert

    def figures(self, said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """The mean over the reports, in both published versions."""
        parts = np.array([self.parts(one, other) for one, other in zip(said, references, strict=True)])
        return {name: float(np.mean(predicted(fit, parts))) for name, fit in FITS.items()}

    def parts(self, said: str, reference: str) -> tuple[float, float, float, float]:
        """RadGraph, BERTScore, CheXbert and BLEU-2 of one pair."""
        told, right = (self.chexbert.embedding(text) for text in (said, reference))
        return (
            self.radgraph.combined(said, reference),
            self.bert_score.score(said, reference),
            float(cosine_similarity(told, right, dim=0)),
            bleu_2(said, reference),
        )


def predicted(
    fit: Fit, parts: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One figure for each row of ``parts``."""
    scaled = (parts - np.array(fit.mean)) / np.array(fit.deviation)
    return np.asarray(scaled @ np.array(fit.weights) + fit.constant)


def bleu_2(said: str, reference: str) -> float:
    """BLEU of words and pairs as RadCliQ splits them: at blanks, a full stop is a word."""
    told, right = (text.lower().replace(".", " .").split() for text in (said, reference))
    return bleu([(told, right)])["BLEU-2"] if told else 0.0
