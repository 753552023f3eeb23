"""The configuration: mistakes are answered with the key and the nearest right one."""

from pathlib import Path

import pytest

from gsco_pacs.config import Config, find_config, load_config, shipped
from gsco_pacs.domain.errors import ConfigError

ROUTE = "routes: [{name: a, when: {tag: Modality, equals: CT}, specialists: [cxr_findings], destinations: [pacs]}]"
PACS = "destinations: {pacs: {kind: dimse, ae_title: PACS, host: localhost, port: 104}}"


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("recever: {}", "unknown key 'recever': did you mean 'receiver'?"),
        ("receiver: {prot: 104}", "receiver: unknown key 'prot': did you mean 'port'?"),
        ("receiver: {port: 99999}", "receiver.port: Input should be less than or equal to 65535"),
        ("receiver: {ae_title: A VERY LONG AE TITLE}", "receiver.ae_title"),
        (ROUTE, "'pacs' is not defined"),
        (f"{PACS.replace('pacs', 'pacs1')}\n{ROUTE}", "did you mean 'pacs1'?"),
        (f"{PACS}\n{ROUTE.replace('Modality', 'Modalty')}", "'Modalty' is not a DICOM keyword"),
        (f"{PACS}\n{ROUTE.replace('equals', 'equal')}", "unknown key 'equal': did you mean 'equals'?"),
        (f"{PACS}\n{ROUTE.replace('equals: CT', 'matches: (')}", "is not a regular expression"),
        (f"{PACS}\n{ROUTE.replace('equals: CT', '')}", "give one of equals, one_of, matches, range, present"),
        ("generalists: {a: {kind: transformer, path: x}}", "generalists.a"),
        ("a: [", "is not YAML"),
        ("just text", "the top level must be keys and values"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(tmp_path: Path, text: str, answer: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml") as caught:
        load(tmp_path, text)
    assert answer in str(caught.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "receiver: {prot: 1}\nsettle: {quite_seconds: 3}")
    assert "'prot'" in str(caught.value)
    assert "'quite_seconds'" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_shipped_configuration_is_valid_and_finds_its_bundles() -> None:
    config = load_config(shipped("config.yaml"))
    for route in config.routes:
        for name in route.specialists:
            assert config.bundle_dir(name).is_dir()


def test_relative_paths_start_from_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, "state: here").state_dir == tmp_path / "here"


def test_a_bundle_that_is_nowhere_is_named_with_the_places_looked_at(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No bundle 'nothing' in"):
        load(tmp_path, "models: [more]").bundle_dir("nothing")


def test_settings_cannot_be_changed_after_loading(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        config.receiver.port = 1  # type: ignore[misc]


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSCO_PACS_CONFIG", str(tmp_path / "mine.yaml"))
    assert find_config() == tmp_path / "mine.yaml"
    assert find_config(Path("given.yaml")) == Path("given.yaml")
