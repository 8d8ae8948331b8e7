"""Find the anvil program, and run it so that it never outlives us."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

from coinslot.devnet import guardian
from coinslot.devnet.fetch import (
    PROGRAM_VARIABLE,
    cache_dir,
    cached_program,
    check_named_program,
    fetch_program,
    this_platform,
)
from coinslot.errors import DevnetError, NodeUnavailable

# Tempo's newest rules in this anvil; its own default is the oldest, which lacks most of what a payment needs.
HARDFORK = "T4"
# It listens within 0.1 s; a busy machine may need many times that.
START_S = 30.0
# The guardian needs up to 5 s to end a program that does not listen; then it is killed itself.
STOP_S = guardian.STOP_S + 2.0
# Enough of the log to explain why it ended.
LOG_LINES = 40
# Asking a program for its help takes milliseconds.
HELP_S = 10.0
_LISTENING = re.compile(r"Listening on [0-9.]+:([0-9]+)")


def speaks_tempo(program: Path) -> bool:
    """Whether this anvil offers `--network tempo`; older ones don't."""
    try:
        shown = subprocess.run(
            [program, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=HELP_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(rb"--network\b.*?\btempo\b", shown.stdout, re.DOTALL) is not None


def find_anvil() -> Path:
    """The program: named by the user, in the cache, on the PATH if it knows Tempo, else fetched into the cache.

    Raises ConfigError, NodeUnavailable or IntegrityMismatch.
    """
    named = os.environ.get(PROGRAM_VARIABLE)
    if named:
        program = check_named_program(Path(named))
        if not speaks_tempo(program):
            raise NodeUnavailable(f"{PROGRAM_VARIABLE} names {program}, which has no `--network tempo`: it is too old")
        return program
    cached = cached_program(cache_dir(), this_platform())
    if cached.is_file():
        return cached
    found = shutil.which("anvil")
    if found and speaks_tempo(Path(found)):
        return Path(found)
    return fetch_program(cache_dir())


class Anvil:
    """A running anvil with Tempo's rules, on a free port of loopback that nobody but the shim needs to know."""

    def __init__(self, program: Path, chain_id: int, block_time: int, state: Path | None) -> None:
        command: list[str | Path] = [sys.executable, "-I", "-S", guardian.__file__, program]
        command += ["--network", "tempo", "--hardfork", HARDFORK, "--chain-id", str(chain_id)]
        # Blocks at once for transactions and each second without: a chain whose clock stands still refuses
        # transactions that are valid for half a minute only.
        command += ["--block-time", str(block_time), "--mixed-mining", "--host", "127.0.0.1", "--port", "0"]
        command += ["--state", state] if state else []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # never written to: it closes when we end, in whatever way
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we then stop it in order
        )
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._listening = threading.Event()
        self._port: int | None = None
        self._reader = threading.Thread(target=self._read, name="anvil-log", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Keep the log's end, and keep the pipe empty: a full one would stop the node."""
        for line in self._process.stdout or ():
            text = line.decode(errors="replace").rstrip()
            self._log.append(text)
            if self._port is None and (found := _LISTENING.search(text)):
                self._port = int(found[1])
                self._listening.set()
        self._listening.set()

    def wait_port(self) -> int:
        """The port it listens on. Raises DevnetError if it ends, or takes too long."""
        self._listening.wait(START_S)
        if self._port is None:
            self.close()
            said = " / ".join(line for line in self._log if line.strip())[-500:]
            raise DevnetError(f"anvil did not start: {said or 'it said nothing'}")
        return self._port

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Stop it, with its state written if it keeps one."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_S)
        if self._process.stdout:
            self._process.stdout.close()
