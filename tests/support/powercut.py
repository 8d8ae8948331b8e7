"""What a disk holds after the power failed, from a trace of what a program wrote and synced.

    trace(folder, command)                 run a program; every write and sync of files in the folder is written down
    for cut in cuts(log, rng, 0.01): ...   what was acknowledged by then, and the files as they may be found

A disk keeps what was synced. Of what was written since, it keeps any part, in sectors: that is what `rng` decides. The
program tells what it has acknowledged by lines in the file ACKS.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

ACKS = "acks"
SECTOR = 512
_CALLS = "openat,close,pwrite64,write,ftruncate,fdatasync,fsync,unlink"
_BEGUN = re.compile(r"(?P<call>\w+)\((?P<given>.*)")
_FD = re.compile(r"(\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass
class _File:
    """`kept` survives; `loose` are writes (offset, bytes) and cuts (length, None) since the last sync."""

    kept: bytearray = field(default_factory=bytearray)
    loose: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for each in self.loose:
            _put(self.kept, *each)
        self.loose.clear()

    def found(self, rng: Random) -> bytes:
        """What may be there after a power cut: all that is loose, none of it, or any sectors of it."""
        image = bytearray(self.kept)
        odds = rng.choice([0.0, 0.5, 1.0])
        for at, written in self.loose:
            if written is None:
                if rng.random() < odds:
                    _put(image, at, None)
                continue
            for start in range(0, len(written), SECTOR):
                if rng.random() < odds:
                    _put(image, at + start, written[start : start + SECTOR])
        return bytes(image)


def _put(image: bytearray, at: int, written: bytes | None) -> None:
    if written is None:
        del image[at:]
        image.extend(bytes(at - len(image)))
        return
    image.extend(bytes(max(0, at - len(image))))
    image[at : at + len(written)] = written


@dataclass(frozen=True)
class Cut:
    """The lines acknowledged before the power failed, and the files that are found then."""

    acked: list[str]
    files: Mapping[str, bytes]

    def restore(self, folder: Path) -> None:
        """Put the files there."""
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def trace(folder: Path, names: Sequence[str], command: Sequence[str], environment: Mapping[str, str]) -> Path:
    """Run a program to its end, and write down what it does to these files of the folder; where that stands."""
    log = folder / "trace"
    watched = [part for name in (*names, ACKS) for part in ("-P", str(folder / name))]
    program = ["strace", "-f", "-q", "-xx", "-s", "10000000", "-e", f"trace={_CALLS}", *watched, "-o", str(log)]
    subprocess.run([*program, *command], env=dict(environment), check=True, timeout=110, stdin=subprocess.DEVNULL)
    return log


def _calls(log: Path) -> Iterator[tuple[str, str, str]]:
    """(call, arguments, result) in the order in which they ended; a call that another thread overtook stands last."""
    unfinished: dict[str, str] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            thread, _, rest = line.partition(" ")
            rest = rest.strip()
            if rest.startswith(("+++", "---")):
                continue
            if rest.endswith("<unfinished ...>"):
                unfinished[thread] = rest.removesuffix("<unfinished ...>")
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>", rest)
            if resumed:
                rest = unfinished.pop(thread) + rest[resumed.end() :]
            call, result = rest.rpartition(" = ")[::2]
            begun = _BEGUN.match(call)
            assert begun is not None, line[:200]
            yield begun["call"], begun["given"], result.split()[0]


def _text(given: str) -> bytes:
    found = _TEXT.search(given)
    assert found is not None, given[:200]
    return bytes.fromhex(found[1].replace("\\x", ""))


def _numbers(given: str) -> list[int]:
    """The numbers after the text: length, and offset."""
    return [int(one) for one in _FD.findall(_TEXT.sub("", given))]


def cuts(log: Path, rng: Random, each: float) -> Iterator[Cut]:
    """The power fails after any call, with the chance `each`."""
    names: dict[int, str] = {}
    files: dict[str, _File] = {}
    acked: list[str] = []
    for call, given, result in _calls(log):
        if result.startswith("-"):
            continue
        if call == "openat":
            name = Path(_text(given).decode()).name
            names[int(result)] = name
            files.setdefault(name, _File())
        elif call == "unlink":
            files.pop(Path(_text(given).decode()).name, None)
        else:
            _apply(call, given, files.get(names.get(_numbers(given)[0], ""), _File()))
        written = files.get(ACKS)
        if written is not None and written.loose:
            acked += b"".join(text or b"" for _, text in written.loose).decode().split()
            written.sync()
        if acked and rng.random() < each:
            yield Cut(list(acked), {name: each.found(rng) for name, each in files.items() if name != ACKS})


def _apply(call: str, given: str, file: _File) -> None:
    if call in {"fdatasync", "fsync"}:
        file.sync()
    elif call == "pwrite64":
        file.loose.append((_numbers(given)[2], _text(given)))
    elif call == "write":
        file.loose.append((0, _text(given)))
    elif call == "ftruncate":
        file.loose.append((_numbers(given)[1], None))
