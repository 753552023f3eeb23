"""The broker without a server: messages appear whole, each reaches one reader, and a spoilt one stops nobody."""

import threading
from pathlib import Path

from gsco_pacs.adapters.queue import lane_of, open_app, wake
from gsco_pacs.config import Config
from gsco_pacs.domain.job import Stage
from gsco_pacs.settings.processes import Workers


def received(config: Config, queue: str) -> list[int]:
    """Every message of a queue, as a worker would take it."""
    app = open_app(config)
    found: list[int] = []
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        while (message := channel.basic_get(str(queue), no_ack=True)) is not None:
            found.append(message.decode()[0][0])
    return found


def test_a_message_reaches_its_stage_and_only_once(tmp_path: Path) -> None:
    config = Config(base=tmp_path)
    wake(open_app(config), 7, Stage.DRAFT)
    assert received(config, Stage.CONSULT) == []
    assert received(config, Stage.DRAFT) == [7]
    assert received(config, Stage.DRAFT) == []


def test_readers_and_writers_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    config = Config(base=tmp_path)
    taken: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            taken.extend(received(config, Stage.DELIVER))

    readers = [threading.Thread(target=read) for _ in range(2)]
    wake(open_app(config), 0, Stage.DELIVER)
    for reader in readers:
        reader.start()
    app = open_app(config)
    for number in range(1, 100):
        wake(app, number, Stage.DELIVER)
    done.set()
    for reader in readers:
        reader.join()
    taken.extend(received(config, Stage.DELIVER))
    assert sorted(taken) == list(range(100))


def test_an_empty_message_is_dropped(tmp_path: Path) -> None:
    config = Config(base=tmp_path)
    wake(open_app(config), 1, Stage.DELIVER)
    (config.state_dir / "queue" / "messages" / f"0_spoilt.{Stage.DELIVER}.msg").touch()
    assert received(config, Stage.DELIVER) == [1]


def test_a_stat_job_wakes_the_lane_of_its_stage_too(tmp_path: Path) -> None:
    config = Config(base=tmp_path, workers=Workers(stat_lanes=(Stage.DRAFT,)))
    wake(open_app(config), 7, Stage.DRAFT, stat=True)
    wake(open_app(config), 8, Stage.DRAFT)
    wake(open_app(config), 9, Stage.CONSULT, stat=True)
    assert received(config, lane_of(Stage.DRAFT)) == [7]
    assert received(config, Stage.DRAFT) == [7, 8]
    assert received(config, Stage.CONSULT) == [9]
