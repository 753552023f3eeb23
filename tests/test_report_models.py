"""RadGraph, BERTScore, RadCliQ, RaTEScore and GREEN load from their published layouts by path and score as published.

The weights are tiny and made up; expected figures are worked out by hand or from the published rule written out plainly.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.evaluation import bert_score, green, ratescore
from gsco_pacs.evaluation.model_measures import MeasurePaths, measures
from gsco_pacs.evaluation.radcliq import FITS, bleu_2, predicted
from gsco_pacs.evaluation.radgraph import LEVELS, RadGraph, reward, words_of_first, words_of_xl
from gsco_pacs.evaluation.radgraph_network import Entity
from gsco_pacs.evaluation.text_metrics import BY_PATH, text_figures
from tests import report_model_material as made
from tests import test_chexbert

PRESENT, ABSENT, ANATOMY = made.LABELS[1:]


def test_all_measures_are_loaded_by_path_and_the_same_report_scores_best(tmp_path: Path) -> None:
    paths = MeasurePaths(
        chexbert=test_chexbert.write(tmp_path / "c"),
        radgraph=made.radgraph(tmp_path / "r"),
        bert_score=made.roberta(tmp_path / "b"),
        ratescore=made.ratescore(tmp_path / "rate"),
        green=made.green(tmp_path / "g"),
    )
    loaded = measures(paths)
    assert set(loaded) == set(BY_PATH)
    same, other = (text_figures(said, made.REPORTS, loaded) for said in (made.REPORTS, made.REPORTS[::-1]))
    for name in ("RadGraph F1 (simple)", "RadGraph F1 (complete)", "BERTScore"):
        assert same[name] == pytest.approx(1), name
        assert float(other[name]) < 1, name
    assert float(same["RaTEScore"]) > float(other["RaTEScore"])
    for name in FITS:
        assert float(same[name]) < float(other[name]), "errors: fewer are better"
    assert same["GREEN"] == 0, "noise has no section that could be read"
    assert not any(isinstance(value, str) for value in same.values())


def test_radcliq_needs_all_of_its_three(tmp_path: Path) -> None:
    loaded = measures(MeasurePaths(radgraph=made.radgraph(tmp_path / "r")))
    found = text_figures(made.REPORTS, made.REPORTS, loaded)
    assert set(loaded) == {"RadGraph"}
    assert str(found["RadCliQ"]).startswith("not measured")


@pytest.mark.parametrize(
    ("write", "load", "part"),
    [
        (made.radgraph, RadGraph, "weights.th"),
        (made.radgraph, RadGraph, "transformer/config.json"),
        (made.roberta, bert_score.BertScore, "config.json"),
        (made.ratescore, ratescore.RaTEScore, "long_weight.json"),
        (made.ratescore, ratescore.RaTEScore, "ner/config.json"),
        (made.green, green.Green, "config.json"),
    ],
)
def test_a_folder_that_does_not_fit_is_named(
    tmp_path: Path, write: Callable[[Path], Path], load: Callable[[Path], object], part: str
) -> None:
    folder = write(tmp_path / "f")
    (folder / part).write_text("[]")
    with pytest.raises(ConfigError, match=r"f.* is not .*'s checkpoint"):
        load(folder)
    (folder / part).unlink()
    with pytest.raises(ConfigError, match=str(folder)):
        load(folder)


# RadGraph


def test_each_dataset_splits_words_as_it_was_trained() -> None:
    text = "Small (2.5cm) effusion, 50%. No edema."
    assert " ".join(words_of_first(text)) == "Small ( 2 . 5cm ) effusion , 50% . No edema ."
    assert " ".join(words_of_xl(text)) == "Small ( 2 . 5cm ) effusion , 50 % . No edema ."


def test_long_reports_are_read_in_parts_and_give_every_word_a_vector(tmp_path: Path) -> None:
    short, whole = (RadGraph(made.radgraph(tmp_path / str(n), longest=n)) for n in (5, 60))
    assert short.graph("edema") == whole.graph("edema")
    text = " ".join(made.REPORTS)
    assert short.graph(text) != whole.graph(text)
    assert all(entity.tokens in " ".join(words_of_xl(text)) for entity in short.graph(text))


def test_a_report_without_words_has_no_entities(tmp_path: Path) -> None:
    assert RadGraph(made.radgraph(tmp_path / "r")).graph(" \n") == ()


def test_spans_that_coreference_would_change_are_refused(tmp_path: Path) -> None:
    folder = made.radgraph(tmp_path / "r")
    settings = json.loads((folder / "config.json").read_text())
    settings["model"]["modules"]["coref"]["coref_prop"] = 1
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="coreference"):
        RadGraph(folder)


SAID = (Entity("Effusion", PRESENT, (("located_at", 1),)), Entity("left", ANATOMY), Entity("edema", ABSENT))
RIGHT = (
    Entity("effusion", PRESENT, (("located_at", 1),)),
    Entity("right", ANATOMY),
    Entity("edema", PRESENT),
)


@pytest.mark.parametrize(("level", "figure"), [("simple", 1 / 3), ("partial", 1 / 3), ("complete", 0)])
def test_radgraph_f1_at_each_level(level: str, figure: float) -> None:
    """One of three entities is in both; it is related in both, but to another side."""
    assert reward(SAID, RIGHT, LEVELS[level]) == pytest.approx(figure)
    assert reward(SAID, SAID, LEVELS[level]) == 1
    assert reward(SAID, (), LEVELS[level]) == reward((), (), LEVELS[level]) == 0


def test_radcliqs_radgraph_counts_entities_as_written_and_relations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = RadGraph(made.radgraph(tmp_path / "r"))
    monkeypatch.setattr(measure, "graph", {"said": SAID, "right": SAID[:2]}.__getitem__)
    assert measure.combined("said", "right") == pytest.approx((2 * 2 / 5 + 1) / 2)


# RadCliQ


def test_radcliq_of_means_is_its_constant_and_each_part_pulls_as_published() -> None:
    for fit in FITS.values():
        mean, deviation = np.array([fit.mean]), np.diag(fit.deviation)
        assert predicted(fit, mean) == pytest.approx([fit.constant])
        assert predicted(fit, mean + deviation) - fit.constant == pytest.approx(fit.weights)


def test_radcliqs_bleu_takes_the_full_stop_as_a_word() -> None:
    assert bleu_2("No edema.", "no edema .") == pytest.approx(1)
    assert bleu_2("", "no edema .") == 0


# BERTScore


def test_bert_score_is_one_for_the_same_text_and_counts_no_marks(tmp_path: Path) -> None:
    measure = bert_score.BertScore(made.roberta(tmp_path / "b"))
    assert measure.score("no edema", " no  edema\n") == pytest.approx(1, abs=1e-5)
    nothing = (0 - bert_score.BASELINE) / (1 - bert_score.BASELINE)
    assert measure.score("", "no edema") == pytest.approx(nothing)


# RaTEScore

WEIGHTS = {(a, b): 1.0 for a in made.RATE_KINDS for b in made.RATE_KINDS} | {("NEG", "WEIGHT"): 0.25}


def named(*kinds: str) -> ratescore.Named:
    return ratescore.Named(kinds, torch.eye(4)[: len(kinds)])


def test_ratescore_of_hand_made_entities() -> None:
    """The second entity of one report has nothing like it in the other: its similarity is 0."""
    one, two = named("DISEASE"), named("DISEASE", "ANATOMY")
    assert ratescore.score(one, one, WEIGHTS) == 1
    assert ratescore.score(one, two, WEIGHTS) == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert ratescore.score(one, named("NON-DISEASE"), WEIGHTS) == 0.25
    assert ratescore.score(one, named(), WEIGHTS) == 0.5


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ("O B-X I-X O B-Y", [(1, 3, "X"), (4, 5, "Y")]),
        ("B-X B-Y I-Y I-X", [(0, 1, "X"), (1, 4, "Y")]),
        ("I-X O I-Y", []),
    ],
)
def test_entities_begin_with_b_and_go_on_with_i(labels: str, found: list[tuple[int, int, str]]) -> None:
    assert ratescore.runs(labels.split()) == found


# GREEN

ANALYSIS = """[Explanation]:
The side differs.

[Clinically Significant Errors]:
(a) False report of a finding in the candidate: 0.
(c) Misidentification of a finding's anatomic location/position: 1. left for right
(d) Misassessment of the severity of a finding: 2. small; large

[Clinically Insignificant Errors]:
(e) Mentioning a comparison that isn't in the reference: 4. a; b; c; d

[Matched Findings]:
3. effusion; heart; lung"""


@pytest.mark.parametrize(
    ("analysis", "figure"),
    [
        (ANALYSIS, 3 / 6),
        (ANALYSIS.replace("(c)", "(3)"), 3 / 5),
        (ANALYSIS.replace("(a)", "(1)").replace("(c)", "(3)").replace("(d)", "(4)"), 3 / 6),
        (ANALYSIS.replace("3. effusion", "No matched findings"), 0),
        (
            ANALYSIS.replace(
                "[Clinically Significant Errors]:\n", "[Clinically Significant Errors]:\nNo errors. "
            ),
            1,
        ),
        ("I cannot say.", 0),
    ],
)
def test_green_counts_matches_against_significant_errors(analysis: str, figure: float) -> None:
    assert green.score(analysis) == pytest.approx(figure)


def test_green_shows_three_hundred_words_of_each_report() -> None:
    asked = green.question("no " * 400, "edema " * 400, "</s>")
    assert (asked.count("no "), asked.count("edema ")) >= (299, 299)
    assert "no " * 301 not in asked
    assert asked.endswith("</s>\n<|assistant|>\n</s>\n<|assistant|>\n")


def test_green_asks_the_model_and_takes_only_what_is_new(tmp_path: Path) -> None:
    measure = green.Green(made.green(tmp_path / "g"))
    written = measure.analysis("no edema", "edema")
    assert "Objective" not in written
    assert written == measure.analysis("no edema", "edema")
