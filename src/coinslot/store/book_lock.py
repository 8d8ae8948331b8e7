"""One writer per scope or charge across processes: a lock of the kernel on a file for each.

The kernel lets go of it when its holder dies, however it dies, so nothing is ever left behind that would have to be
judged stale (F25). The files of scopes stay where they are: removing one would let two writers hold two files of one
name. That of a charge goes with its record, whose name never comes again: who holds it looks whether there is a record.
Taken without waiting; who wants it asks again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import weakref
from contextlib import suppress
from pathlib import Path

from coinslot.errors import ConfigError, StoreBroken
from coinslot.store.book import Named

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_HELD: weakref.WeakSet[FileLease] = weakref.WeakSet()


class FileLease:
    """A held lock. Each one has an open file of its own, so that threads and tasks exclude each other, too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        _HELD.add(self)

    def release(self) -> None:
        """See book.Lease."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the same open file
            os.close(descriptor)

    def __del__(self) -> None:
        """What nobody holds any more, as an answer that was dropped unread, locks nobody out. F28"""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: the lock is the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _forked() -> None:
    for lease in list(_HELD):
        lease.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"


def forget(folder: Path, name: str) -> None:
    """Remove the file of a name that never comes again; whoever has it open holds a lock on nothing. F28"""
    with suppress(OSError):  # a file too many locks nobody out
        _path(folder, name).unlink(missing_ok=True)


def try_lock(folder: Path, what: Named) -> FileLease | None:
    """Lock something, or None while somebody else holds it. Raises ConfigError, StoreBroken."""
    if fcntl is None:
        raise ConfigError("a book in a file needs the locks of a POSIX system; use a memory book here")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(_path(folder, what.name()), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreBroken(f"the book's locks: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # F25
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise StoreBroken(f"the book's locks: {error.strerror}") from error
    return FileLease(descriptor)
