"""Other implementations of the protocol as long-running processes, installed outside this tree.

`mppx` (an older one too) and `@solana/mpp` (JavaScript), `pympp` and `solana-pay-kit` (Python) are pinned in
tests/interop and installed on first use under COINSLOT_INTEROP_DIR, by default ~/.cache/coinslot/interop. What can't be
installed is skipped with its reason; in CI a skip fails.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent.parent / "interop"
# An answer of a peer that takes longer than this has failed: a payment takes a block or two.
ANSWER_S = 60.0
# Installing from a slow mirror.
INSTALL_S = 300.0
NPM = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent")


def home() -> Path:
    """Where the peers are installed."""
    default = Path.home() / ".cache" / "coinslot" / "interop"
    return Path(os.environ.get("COINSLOT_INTEROP_DIR") or default)


@contextmanager
def _locked() -> Iterator[None]:
    """One installation at a time, also among the processes of one test run."""
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _install(name: str, pins: Path, build: Sequence[Sequence[str]]) -> Path:
    """The folder of a peer, made by these commands unless it is there. Skips the test where that fails."""
    place = home() / f"{name}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    ready = place / ".ready"
    if ready.exists():
        return place
    with _locked():
        if ready.exists():
            return place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        shutil.copy(pins, place)
        for command in build:
            try:
                done = subprocess.run(
                    command, cwd=place, capture_output=True, text=True, timeout=INSTALL_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"{name} can't be installed: {error}")
            if done.returncode:
                pytest.skip(f"{name} can't be installed: {(done.stderr or done.stdout).strip()[-400:]}")
        ready.touch()
    return place


def mppx_home() -> Path:
    """The folder with mppx's node_modules and our scripts."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("mppx needs Node 20 and npm")
    place = _install("node", HERE / "package.json", [NPM])
    _copy(place, HERE.glob("*.mjs"))
    return place


def legacy_home() -> Path:
    """The folder with the last mppx that sells by the older session protocol, and our scripts."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("mppx needs Node 20 and npm")
    place = _install("node-legacy", HERE / "legacy" / "package.json", [NPM])
    _copy(place, [HERE / "lines.mjs", *(HERE / "legacy").glob("*.mjs")])
    return place


def _copy(place: Path, scripts: Iterable[Path]) -> None:
    """Put our scripts beside the packages: ES modules find packages beside themselves only."""
    for script in scripts:
        target = place / script.name
        if not target.exists() or target.read_bytes() != script.read_bytes():
            fresh = place / f"{script.name}.{os.getpid()}"
            shutil.copy(script, fresh)
            fresh.replace(target)


def pympp_home() -> Path:
    """The virtual environment with pympp."""
    pip = ["bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]
    return _install("python", HERE / "requirements.txt", [[sys.executable, "-m", "venv", "."], pip])


def paykit_home() -> Path:
    """The virtual environment with solana-pay-kit."""
    pip = ["bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]
    pins = HERE / "paykit" / "requirements.txt"
    return _install("paykit", pins, [[sys.executable, "-m", "venv", "."], pip])


def solana_mpp_home() -> Path:
    """The folder with @solana/mpp's node_modules and our scripts."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("@solana/mpp needs Node 20 and npm")
    pins = HERE / "solana-mpp" / "package.json"
    place = _install("node-solana", pins, [[*NPM, "--legacy-peer-deps"]])
    _copy(place, [HERE / "lines.mjs", *(HERE / "solana-mpp").glob("*.mjs")])
    return place


class PeerError(Exception):
    """What the peer raised, by name and text."""


@dataclass
class Peer:
    """A peer that takes orders by name. Calls from several threads run side by side."""

    command: Sequence[str]
    folder: Path
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            self.command,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            answer = json.loads(line)
            self._waiting.pop(answer["id"]).put(answer)
        for waiting in self._waiting.values():
            waiting.put({"error": "the peer's process ended"})

    def call(self, op: str, **args: Any) -> Any:
        """What the peer answers to one order. Raises PeerError."""
        return self.order(op, args)

    def order(self, op: str, args: dict[str, Any]) -> Any:
        """The same with the arguments as one object."""
        number, box = next(self._ids), queue.SimpleQueue[dict[str, Any]]()
        self._waiting[number] = box
        assert self._process.stdin
        with self._lock:
            self._process.stdin.write(json.dumps({"id": number, "op": op, "args": args}) + "\n")
            self._process.stdin.flush()
        answer = box.get(timeout=ANSWER_S)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["value"]

    def batch(self, op: str, args: Sequence[dict[str, Any]]) -> list[Any]:
        """What the peer answers to many orders of one kind. Raises PeerError for the first that failed."""
        answers = self.order("batch", {"op": op, "list": list(args)})
        failed = [one["error"] for one in answers if "error" in one]
        if failed:
            raise PeerError(failed[0])
        return [one["value"] for one in answers]

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def mppx() -> Iterator[Peer]:
    """mppx, ready for orders (tests/interop/peer.mjs)."""
    peer = Peer(["node", "peer.mjs"], mppx_home())
    yield peer
    peer.stop()


@pytest.fixture(scope="session")
def mppx_channels() -> Iterator[Peer]:
    """mppx's sessions, ready for orders (tests/interop/channels.mjs)."""
    peer = Peer(["node", "channels.mjs"], mppx_home())
    yield peer
    peer.stop()


@pytest.fixture(scope="session")
def mppx_legacy() -> Iterator[Peer]:
    """An mppx that sells by the older session protocol, ready for orders (tests/interop/legacy/legacy.mjs)."""
    peer = Peer(["node", "legacy.mjs"], legacy_home())
    yield peer
    peer.stop()


@pytest.fixture(scope="session")
def pympp() -> Iterator[Peer]:
    """pympp, ready for orders (tests/interop/peer.py)."""
    place = pympp_home()
    peer = Peer([str(place / "bin" / "python"), str(HERE / "peer.py")], place)
    yield peer
    peer.stop()


@pytest.fixture(scope="session")
def paykit() -> Iterator[Peer]:
    """solana-pay-kit, ready for orders (tests/interop/paykit/peer.py)."""
    place = paykit_home()
    peer = Peer([str(place / "bin" / "python"), str(HERE / "paykit" / "peer.py")], place)
    yield peer
    peer.stop()


@pytest.fixture(scope="session")
def solana_mpp() -> Iterator[Peer]:
    """@solana/mpp, ready for orders (tests/interop/solana-mpp/solana.mjs)."""
    peer = Peer(["node", "solana.mjs"], solana_mpp_home())
    yield peer
    peer.stop()
