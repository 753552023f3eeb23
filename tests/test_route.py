"""Routing: which studies a condition takes, and what is said of those that it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gsco_pacs.conditions import Condition
from gsco_pacs.domain.completeness import Expected
from gsco_pacs.domain.study import Header, Instance
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.steps.route import expected, keywords, route, why_not

PARSE = TypeAdapter(Condition)
CHEST: Header = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
HAND: Header = {"Modality": "DX", "BodyPartExamined": "HAND", "PatientAge": "045Y"}
CT: Header = {"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SliceThickness": "1.25"}


def holds(condition: object, *headers: Header) -> bool:
    return why_not(PARSE.validate_python(condition), headers) == ""


@pytest.mark.parametrize(
    ("condition", "header", "expected"),
    [
        ({"tag": "Modality", "equals": "DX"}, CHEST, True),
        ({"tag": "Modality", "equals": "CT"}, CHEST, False),
        ({"tag": "Modality", "one_of": ["CR", "DX"]}, CHEST, True),
        ({"tag": "BodyPartExamined", "matches": "CHE.*"}, CHEST, True),
        ({"tag": "BodyPartExamined", "matches": "CHE"}, CHEST, False),
        ({"tag": "SliceThickness", "range": [1, 2]}, CT, True),
        ({"tag": "SliceThickness", "range": [2, 3]}, CT, False),
        ({"tag": "PatientAge", "range": [18, 120]}, HAND, True),
        ({"tag": "ViewPosition", "present": True}, CHEST, True),
        ({"tag": "ViewPosition", "present": False}, HAND, True),
        ({"tag": "ViewPosition", "present": True}, HAND, False),
        ({"tag": "ImageType", "equals": "AXIAL"}, CT, True),
        ({"not": {"tag": "Modality", "equals": "CT"}}, CHEST, True),
        (
            {"any": [{"tag": "Modality", "equals": "CT"}, {"tag": "ViewPosition", "equals": "PA"}]},
            CHEST,
            True,
        ),
        (
            {"all": [{"tag": "Modality", "equals": "DX"}, {"tag": "ViewPosition", "equals": "AP"}]},
            CHEST,
            False,
        ),
    ],
)
def test_a_condition_takes_the_images_that_it_describes(
    condition: object, header: Header, expected: bool
) -> None:
    assert holds(condition, header) is expected


def test_a_test_holds_for_a_study_if_any_of_its_series_meets_it() -> None:
    assert holds({"tag": "Modality", "equals": "CT"}, CHEST, CT)
    assert not holds({"not": {"tag": "Modality", "equals": "CT"}}, CHEST, CT)


def test_one_image_binds_several_tests_to_the_same_image() -> None:
    both = {"all": [{"tag": "Modality", "equals": "CT"}, {"tag": "BodyPartExamined", "equals": "CHEST"}]}
    assert holds(both, CHEST, CT)
    assert not holds({"one_image": both}, CHEST, CT)


def settings(name: str, when: object, *expects: object) -> RouteSettings:
    content = {"name": name, "when": when, "specialists": ["cxr_findings"], "destinations": ["pacs"]}
    return RouteSettings.model_validate(content | {"expects": expects})


def test_the_first_route_that_matches_is_taken_and_the_ones_before_it_say_why_not() -> None:
    routes = [
        settings("ct", {"tag": "Modality", "equals": "CT"}),
        settings("chest", {"tag": "BodyPartExamined", "equals": "CHEST"}),
        settings("rest", {"tag": "Modality", "present": True}),
    ]
    routing = route([CHEST], routes)
    assert routing.route == "chest"
    assert [(t.route, t.matched, t.reason) for t in routing.trials] == [
        ("ct", False, "Modality is CT (the study has DX)"),
        ("chest", True, ""),
    ]


def test_a_study_that_matches_nothing_has_a_reason_for_each_route() -> None:
    routing = route([HAND], [settings("chest", {"not": {"tag": "BodyPartExamined", "equals": "HAND"}})])
    assert routing.route is None
    assert routing.trials[0].reason == "not (BodyPartExamined is HAND) failed"


def test_a_reason_never_shows_a_patients_data() -> None:
    condition = {"tag": "PatientName", "equals": "Nobody"}
    assert "Secret" not in why_not(PARSE.validate_python(condition), [{"PatientName": "Secret^Name"}])


def test_the_receiver_is_told_which_attributes_the_routes_ask_for() -> None:
    nested = {
        "all": [
            {"not": {"tag": "Manufacturer", "equals": "X"}},
            {"one_image": {"tag": "ViewPosition", "present": True}},
        ]
    }
    expecting = settings(
        "b", {"tag": "Modality", "present": True}, {"when": {"tag": "EchoTime", "present": True}}
    )
    assert keywords([settings("a", nested), expecting]) == {
        "Manufacturer",
        "ViewPosition",
        "Modality",
        "EchoTime",
    }


def test_what_a_route_expects_is_counted_in_images_or_in_series() -> None:
    lateral = {"tag": "ViewPosition", "equals": "LL"}
    route_settings = settings(
        "chest",
        {"tag": "Modality", "present": True},
        {"when": lateral, "at_least": 2},
        {"when": lateral, "at_least": 2, "of": "series"},
    )
    views = [("1", "LL"), ("1", "LL"), ("2", "PA"), ("3", "LL")]
    instances = [
        Instance(
            "1.2",
            f"1.2.{series}",
            f"1.2.{series}.{n}",
            "1.2.9",
            "1.2.840.10008.1.2.1",
            "0" * 64,
            1,
            "x",
            {"ViewPosition": view},
        )
        for n, (series, view) in enumerate(views)
    ]
    assert expected(instances, route_settings) == (
        Expected("images with ViewPosition is LL", 2, 3),
        Expected("series with ViewPosition is LL", 2, 2),
    )


@given(st.lists(st.fixed_dictionaries({"Modality": st.sampled_from(["CT", "MR", "DX"])}), min_size=1))
def test_a_condition_and_its_negation_never_both_hold(headers: list[dict[str, str]]) -> None:
    condition = {"tag": "Modality", "equals": "CT"}
    assert holds(condition, *headers) is not holds({"not": condition}, *headers)
