"""The report measures that need a network, each loaded from a path if one is given; nothing is downloaded."""

from dataclasses import dataclass
from pathlib import Path

from gsco_pacs.evaluation.bert_score import BertScore
from gsco_pacs.evaluation.chexbert import CheXbert
from gsco_pacs.evaluation.green import Green
from gsco_pacs.evaluation.radcliq import RadCliQ
from gsco_pacs.evaluation.radgraph import RadGraph
from gsco_pacs.evaluation.ratescore import RaTEScore
from gsco_pacs.evaluation.text_metrics import TextMeasure


@dataclass(frozen=True)
class MeasurePaths:
    """Folders of published checkpoints; None: the measure is left out."""

    chexbert: Path | None = None
    radgraph: Path | None = None
    bert_score: Path | None = None
    ratescore: Path | None = None
    green: Path | None = None


def measures(paths: MeasurePaths) -> dict[str, TextMeasure]:
    """Name -> measure, ready to use; RadCliQ comes with the three that it joins. ConfigError for a folder that does not fit."""
    chexbert = CheXbert(paths.chexbert) if paths.chexbert else None
    radgraph = RadGraph(paths.radgraph) if paths.radgraph else None
    bert_score = BertScore(paths.bert_score) if paths.bert_score else None
    joined = RadCliQ(radgraph, bert_score, chexbert) if radgraph and bert_score and chexbert else None
    found: dict[str, TextMeasure | None] = {
        "CheXbert": chexbert,
        "RadGraph": radgraph,
        "BERTScore": bert_score,
        "RadCliQ": joined,
        "RaTEScore": RaTEScore(paths.ratescore) if paths.ratescore else None,
        "GREEN": Green(paths.green) if paths.green else None,
    }
    return {name: measure for name, measure in found.items() if measure}
