"""Runs single tests in forks of one process that has imported everything but coinslot.

Most of the time of a mutation's test would go into starting Python and importing pytest, hypothesis and the web
frameworks. Here that happens once; each test gets a fork, in which coinslot and the tests are imported anew. It reads
one JSON request a line (see `Runner` in support/mutation.py) and answers each with one line.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pytest

# What coinslot and its tests import from elsewhere. One that is missing here or there only costs its import again.
PRELOADED = (
    "hypothesis hypothesis.stateful hypothesis.strategies httpx msgspec rfc8785 coincurve sha3 rlp sqlite3 asyncio"
    " starlette.applications fastapi flask django.http django.test requests psycopg uvicorn"
    " websockets.sync.client websockets.asyncio.client typer.testing rich cryptography.fernet trustme structlog"
    " eth_account pytempo opentelemetry.sdk.trace solders.pubkey"
).split()
# How often the end of a fork is looked for: little beside the half second that the shortest one takes.
POLL_S = 0.005
# A status that pytest does not use.
CRASHED = 70
# Enough of an error to tell its kind.
MESSAGE = 500


class Preload:
    """Imports under pytest's own import hook, without which pytest would warn in every fork that it came too late."""

    def pytest_configure(self) -> None:
        """Import all that is there."""
        for name in PRELOADED:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


class Record:
    """What test bodies failed with; a fixture that fails proves nothing."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.status = CRASHED

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Keep how the tests ended; what is told of rubbish when pytest cleans up after them changes that no more."""
        self.status = int(exitstatus)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the error's first words."""
        if report.failed and report.when == "call":
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed.append(str(getattr(crash, "message", report.longrepr))[:MESSAGE])


def preload() -> None:
    """Import pytest, its plugins and the libraries, by a session without tests."""
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", empty], plugins=[Preload()])
    loaded = [name for name in sys.modules if name.partition(".")[0] in {"coinslot", "support"}]
    assert not loaded, f"no fork could import these anew: {loaded}"
    assert threading.active_count() == 1, "a fork would lack the other threads"
    gc.collect()
    gc.freeze()


def run(request: dict[str, object]) -> int:
    """In the fork: the test, with the source and the environment that were asked for; its exit status."""
    source, environment, folder = request["source"], request["environment"], Path(str(request["folder"]))
    assert isinstance(environment, dict)
    os.setsid()
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, origin in ((0, null), (1, output), (2, output)):
        os.dup2(origin, target)
    os.environ.clear()
    os.environ.update(environment)
    # as `python -m pytest` has it: the working directory, then PYTHONPATH
    sys.path[:0] = [os.getcwd(), str(source)]
    sys.dont_write_bytecode = True
    sys.argv = ["pytest"]
    record = Record()
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(request["node"])]
    try:
        pytest.main(arguments, plugins=[record])
    except Exception:  # an unclosed file found by the last collection of garbage is raised from here
        traceback.print_exc()
    (folder / "report.json").write_text(json.dumps(record.failed), encoding="utf-8")
    return record.status


def wait(pid: int, seconds: float) -> int | None:
    """The exit status of a fork; None, and no process of its group left, if it takes longer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def main() -> None:
    """Answer until the input ends."""
    # the answers' own line: what a library prints must not get between them
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    preload()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = CRASHED
            try:
                code = run(request)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                # no handler of the server's own may run here, and no thread that a mutation left may hold the end up
                os._exit(code)
        answers.write(json.dumps({"status": wait(pid, float(request["seconds"]))}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
