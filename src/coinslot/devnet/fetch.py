"""Fetch the node's program through npm, once, and believe it only if it is the one that was pinned."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from coinslot.errors import ConfigError, IntegrityMismatch, NodeUnavailable

VERSION = "1.7.1"
# Integrity of the package per platform, as npm states it (sha512 of the tarball). Where it is not pinned, the user
# must say it: a program that nobody vouched for is never run.
PINNED = {
    "linux-amd64": "sha512-+XmShybEaxfCrr0OUUZwYEy2OnYZt5pHH9TzBtLv3+VrK0O/ANuNSVEahqNhKHlgX7GRJ59383ofNhxkRWIYTg==",
}
PLATFORMS = ("linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "win32-amd64")
INTEGRITY_VARIABLE = "COINSLOT_ANVIL_INTEGRITY"
PROGRAM_VARIABLE = "COINSLOT_ANVIL"
# The package is 19 MB; a slow line needs minutes, more than this is a line that hangs.
FETCH_S = 300.0
# The unpacked program is 44 MB; more than this is not the program.
PROGRAM_BYTES = 200 * 1024 * 1024
_log = logging.getLogger(__name__)
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def this_platform() -> str:
    """This machine in the words of the package names, e.g. "linux-amd64". Raises NodeUnavailable."""
    machine = platform.machine().lower()
    name = f"{sys.platform}-{_MACHINES.get(machine, machine)}"
    if name not in PLATFORMS:
        raise NodeUnavailable(f"there is no anvil package for {name}; build one and name it in {PROGRAM_VARIABLE}")
    return name


def package(platform_name: str) -> str:
    """The npm package that holds the program for a platform, with its version."""
    return f"@foundry-rs/anvil-{platform_name}@{VERSION}"


def cache_dir() -> Path:
    """Where fetched programs are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "coinslot"


def cached_program(cache: Path, platform_name: str) -> Path:
    """Where the program of a platform lies in the cache once it was fetched."""
    name = "anvil.exe" if platform_name.startswith("win32") else "anvil"
    return cache / f"anvil-{VERSION}-{platform_name}" / name


def expected_integrity(platform_name: str) -> str:
    """What the package must hash to. Raises NodeUnavailable where neither we nor the user say it."""
    pinned = PINNED.get(platform_name) or os.environ.get(INTEGRITY_VARIABLE)
    if pinned:
        return pinned
    raise NodeUnavailable(
        f"the anvil package for {platform_name} is not pinned yet, so it is not fetched blindly. "
        f"Look at `npm view {package(platform_name)} dist.integrity`, and set {INTEGRITY_VARIABLE} to it if you trust "
        f"it; or install anvil {VERSION} yourself and name it in {PROGRAM_VARIABLE}"
    )


def integrity_of(tarball: Path) -> str:
    """The integrity string of a file, as npm writes it."""
    with tarball.open("rb") as file:
        return "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()


def fetch_program(cache: Path) -> Path:
    """Fetch, verify and unpack the program for this machine into the cache.

    Raises NodeUnavailable (no npm, no network) or IntegrityMismatch; then nothing is left in the cache.
    """
    platform_name = this_platform()
    expected = expected_integrity(platform_name)
    target = cached_program(cache, platform_name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # beside the target, so that the last step is a rename on one file system
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as room:
            tarball = _pack(package(platform_name), Path(room))
            unpack(tarball, expected, target)
    except OSError as error:
        raise NodeUnavailable(f"the anvil program can't be kept in {target.parent}: {error.strerror}") from error
    return target


def _pack(name: str, room: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise NodeUnavailable(
            "the local chain needs the program anvil, which is fetched with npm, and npm is not installed. Install "
            f"Node.js 20 or newer, or install anvil {VERSION} yourself and name it in {PROGRAM_VARIABLE}"
        )
    _log.info("Fetching %s through npm; this happens once.", name)
    try:
        done = subprocess.run(
            [npm, "pack", "--json", "--silent", "--pack-destination", str(room), name],
            cwd=room,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FETCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NodeUnavailable(f"npm did not fetch {name} within {FETCH_S:.0f} s; try again") from error
    tarballs = list(room.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        raise NodeUnavailable(
            f"npm could not fetch {name} ({_npm_reason(done.stdout, done.stderr)}). The network is needed once; "
            f"or install anvil {VERSION} yourself and name it in {PROGRAM_VARIABLE}"
        )
    return tarballs[0]


def _npm_reason(stdout: bytes, stderr: bytes) -> str:
    """One line of what npm said: its JSON error, else the last line of its complaint."""
    try:
        said = json.loads(stdout)["error"]
        return f"{said.get('code')}: {said.get('summary')}".splitlines()[0][:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it gave no reason"


def unpack(tarball: Path, expected: str, target: Path) -> None:
    """Put the one program of a verified tarball at `target`, in one step. Raises IntegrityMismatch."""
    found = integrity_of(tarball)
    if found != expected:
        raise IntegrityMismatch(
            f"the fetched anvil package is not the pinned one (expected {expected}, got {found}). It was thrown away"
        )
    member = f"package/bin/{target.name}"
    half = tarball.with_name("program")
    with tarfile.open(tarball, "r:gz") as archive:
        # only this member is ever written, under a name of ours: no path of the archive is trusted
        try:
            entry = archive.getmember(member)
        except KeyError:
            raise IntegrityMismatch(f"the anvil package holds no {member}") from None
        source = archive.extractfile(entry) if entry.isfile() and entry.size <= PROGRAM_BYTES else None
        if source is None:
            raise IntegrityMismatch(f"{member} in the anvil package is not a program")
        with source, half.open("wb") as file:
            shutil.copyfileobj(source, file)
    half.chmod(0o755)
    half.replace(target)


def check_named_program(path: Path) -> Path:
    """The program that the user named, if it can be run. Raises ConfigError."""
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ConfigError(f"{PROGRAM_VARIABLE} names {path}, which is not a program that can be run")
    return path
