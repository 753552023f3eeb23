"""Whatever a file does to a decoder costs that file alone: the child is confined, ended, told of, and started anew."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from gsco_pacs.adapters.decoder_process import DecoderProcess
from gsco_pacs.domain.errors import BadObjectError, DecoderEndedError
from gsco_pacs.evaluation.bench_decode import SIDES, SYNTAXES, decode_cost, table
from gsco_pacs.pixels.decoding import IN_PROCESS
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.ports import InputContract
from gsco_pacs.settings.decoding import Decoding
from gsco_pacs.steps.prepare import prepare
from tests.decoder_table import packaged
from tests.stored_images import asymmetric, stored_file, written

ANYTHING = InputContract((), (), (), (), min_rows=1, min_columns=1, max_images=9)


@pytest.fixture
def decoder() -> Iterator[DecoderProcess]:
    made = DecoderProcess(Decoding(seconds=1))
    yield made
    made.close()


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    return written(tmp_path / "image", asymmetric(), uid.JPEG2000Lossless)


def slow(path: Path) -> Path:
    """An image whose decoding takes some tenths of a second."""
    noise = np.random.default_rng(1).integers(0, 4000, (1500, 1500))
    return written(path, noise, uid.JPEG2000Lossless)


def decoding_child() -> int:
    return next(
        pid
        for pid in map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
        if b"gsco_pacs.processes.decoder" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def soon(what: Callable[[], object], after: float) -> threading.Timer:
    timer = threading.Timer(after, what)
    timer.start()
    return timer


def test_the_child_answers_as_this_process_would(decoder: DecoderProcess) -> None:
    compared = 0
    for path in packaged():
        try:
            image = open_image(path)
            expected = IN_PROCESS.decode(image, image.frames)
        except BadObjectError:
            continue
        values = decoder.decode(image, image.frames)
        assert values.dtype == expected.dtype
        assert np.array_equal(values, expected)
        compared += image.transfer_syntax_uid.is_encapsulated
    assert compared > 30


def test_what_cannot_be_decoded_is_refused_in_the_same_words(
    decoder: DecoderProcess, compressed: Path
) -> None:
    image = open_image(compressed)
    os.truncate(compressed, image.offset + image.length // 2)
    with pytest.raises(BadObjectError) as here:
        IN_PROCESS.decode(open_image(compressed), 1)
    with pytest.raises(BadObjectError) as there:
        decoder.decode(open_image(compressed), 1)
    assert str(there.value) == str(here.value)
    assert not isinstance(there.value, DecoderEndedError)


@pytest.mark.parametrize("ended_by", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_costs_the_image_that_caused_it_and_the_next_one_is_decoded(
    decoder: DecoderProcess, compressed: Path, tmp_path: Path, ended_by: signal.Signals
) -> None:
    decoder.decode(open_image(compressed), 1)
    pid, image = decoding_child(), open_image(slow(tmp_path / "slow"))
    timer = soon(lambda: os.kill(pid, ended_by), 0.1)
    with pytest.raises(DecoderEndedError, match=rf"JPEG 2000.*crashed \({ended_by.name}\)"):
        decoder.decode(image, 1)
    timer.join()
    assert np.array_equal(decoder.decode(open_image(compressed), 1), asymmetric())
    assert decoding_child() != pid


def test_a_decoder_that_hangs_is_ended_when_its_time_is_over(
    decoder: DecoderProcess, compressed: Path
) -> None:
    decoder.decode(open_image(compressed), 1)
    os.kill(decoding_child(), signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(DecoderEndedError, match="took too long"):
        decoder.decode(open_image(compressed), 1)
    assert time.monotonic() - began < 4


def test_a_child_that_ended_between_two_images_is_blamed_on_neither(
    decoder: DecoderProcess, compressed: Path
) -> None:
    decoder.decode(open_image(compressed), 1)
    os.kill(decoding_child(), signal.SIGKILL)
    time.sleep(0.1)
    assert np.array_equal(decoder.decode(open_image(compressed), 1), asymmetric())


def test_after_three_ends_the_rest_of_the_study_is_left_out_and_the_next_study_is_not(tmp_path: Path) -> None:
    decoder = DecoderProcess(Decoding(seconds=0.1))
    files = [
        stored_file(written(tmp_path / str(n), asymmetric(), uid.RLELossless), f"1.{n}") for n in range(2)
    ]
    for _ in range(3):
        decoder.decode(open_image(tmp_path / "0"), 1)
        os.kill(decoding_child(), signal.SIGSTOP)
        with pytest.raises(DecoderEndedError, match="took too long"):
            decoder.decode(open_image(tmp_path / "1"), 1)
    prepared = prepare(files, ANYTHING, decoder)
    assert not prepared.pictures
    assert all(each.failed and "3 images of the study" in each.reason for each in prepared.exclusions)
    decoder.forgive()
    assert len(prepare(files, ANYTHING, decoder).pictures) == 2
    decoder.close()


def test_a_kilobyte_that_wants_more_memory_than_there_may_be_costs_itself_alone(tmp_path: Path) -> None:
    decoder = DecoderProcess(Decoding(memory_bytes=512 * 1024**2))
    bomb = written(tmp_path / "bomb", np.zeros((7000, 7000), np.int64), uid.JPEG2000Lossless)
    assert bomb.stat().st_size < 4000
    whole = written(tmp_path / "whole", asymmetric(), uid.JPEG2000Lossless)
    prepared = prepare([stored_file(bomb, "1.1"), stored_file(whole, "1.2")], ANYTHING, decoder)
    assert [picture.sop_instance_uid for picture in prepared.pictures] == ["1.2"]
    assert [(each.subject, each.failed) for each in prepared.exclusions] == [("1.1", True)]
    decoder.close()


def test_the_pictures_of_a_study_take_no_more_memory_than_they_may(tmp_path: Path) -> None:
    decoder = DecoderProcess(Decoding(study_bytes=1_000_000))
    files = [
        stored_file(written(tmp_path / str(n), asymmetric(rows=400, columns=300), uid.RLELossless), f"1.{n}")
        for n in range(4)
    ]
    prepared = prepare(files, ANYTHING, decoder)
    assert [picture.sop_instance_uid for picture in prepared.pictures] == ["1.0", "1.1"]
    assert [(each.subject, each.failed) for each in prepared.exclusions] == [("1.2", True), ("1.3", True)]
    assert "1000000 bytes" in prepared.exclusions[0].reason
    decoder.close()


CONFINED = """
import os, socket, subprocess, sys
from gsco_pacs.adapters.confinement import confine
inside = open(sys.argv[1], "ab")
filtered = confine(2 * 1024**3)
def tried(what):
    try:
        what()
    except (PermissionError, MemoryError, OSError) as error:
        return type(error).__name__
    return "done"
print(filtered, tried(lambda: open(sys.argv[1]).read()))
for what in (
    socket.socket,
    lambda: subprocess.run(["true"]),
    os.fork,
    lambda: os.kill(os.getppid(), 0),
    lambda: open(sys.argv[1], "w"),
    lambda: open(sys.argv[1] + ".new", "x"),
    lambda: os.remove(sys.argv[1]),
    lambda: os.rename(sys.argv[1], sys.argv[1] + ".new"),
    lambda: os.chmod(sys.argv[1], 0o777),
    lambda: bytearray(3 * 1024**3),
):
    print(tried(what))
sys.stdout.flush()
inside.write(b"more")
inside.flush()
"""


def test_a_confined_process_reads_and_computes_and_nothing_else(tmp_path: Path) -> None:
    victim = tmp_path / "image"
    victim.write_text("untouched")
    done = subprocess.run(
        [sys.executable, "-B", "-c", CONFINED, str(victim)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["True done", *["PermissionError"] * 9, "MemoryError"], done.stderr
    assert done.returncode != 0  # what it had opened before it cannot write to either
    assert [path.read_text() for path in tmp_path.iterdir()] == ["untouched"]


OWNER = """
import os, sys
from pathlib import Path
from gsco_pacs.adapters.decoder_process import DecoderProcess
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.settings.decoding import Decoding
DecoderProcess(Decoding()).decode(open_image(Path(sys.argv[1])), 1)
child = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().strip()
print(child, "GSCO_SECRET" in Path(f"/proc/{child}/environ").read_text(), flush=True)
os._exit(1)
"""


def ended(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_the_child_ends_with_its_worker_and_has_nothing_of_its_environment(compressed: Path) -> None:
    environment = {**os.environ, "GSCO_SECRET": "x"}
    command = [sys.executable, "-c", OWNER, str(compressed)]
    owner = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    child, told = owner.stdout.split()
    assert told == "False"
    deadline = time.monotonic() + 5
    while not ended(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_bench_compares_both_ways_for_each_syntax_and_size() -> None:
    rows = [line.split(" | ") for line in table(decode_cost(1), 1).splitlines()[4:]]
    assert len(rows) == len(SYNTAXES) * len(SIDES)
    assert all(float(row[4].strip(" |")) > 0 for row in rows)
