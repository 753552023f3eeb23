"""Server programs as children of a test process, which surely end with it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def program(name: str, package: str, folders: str = _PATH) -> str:
    """The path of a program; FileNotFoundError that names the Debian ``package`` if it is not installed."""
    found = shutil.which(name, path=folders)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install {package}")
    return found


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def as_user(user: str | None) -> list[str]:
    """How a command line begins that another user (None: the same) shall run; options of setpriv may follow."""
    identity = [f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
    return [program("setpriv", "util-linux"), *identity]


@contextmanager
def running(
    command: Sequence[str],
    folder: Path,
    ready: Callable[[], bool],
    *,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    stop: signal.Signals = signal.SIGKILL,
    seconds: float = 60,
) -> Iterator[int]:
    """Run ``command`` in ``folder`` until the block is left; yields its process id once ``ready()`` holds.

    The kernel sends ``stop`` when the thread that started it dies, even by SIGKILL, so start it in the main thread.
    RuntimeError with the end of its output if it ends early or is not ready within ``seconds``.
    """
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*as_user(user), f"--pdeathsig={stop.name.removeprefix('SIG')}", *command],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await(process, ready, log, seconds)
        yield process.pid
    finally:
        _end(process, stop)


def _await(process: "subprocess.Popen[bytes]", ready: Callable[[], bool], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{process.args!r} did not start (exit {process.returncode}):\n{last}")
        time.sleep(0.05)


def _end(process: "subprocess.Popen[bytes]", stop: signal.Signals) -> None:
    process.send_signal(stop)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # What it started itself shares its process group.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
