"""Where the challenge secret comes from: given, the environment, or a file beside a SQLite store, made once."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from coinslot.core.challenge import MIN_KEY_BYTES
from coinslot.errors import ConfigError

VARIABLE = "COINSLOT_SECRET_KEY"
_SQLITE = "sqlite:///"
HOW = f"make one with: python -c 'import secrets; print(secrets.token_hex(32))' and set {VARIABLE}"


def challenge_keys(
    given: str | Sequence[str] | None, store_url: str, environment: Mapping[str, str]
) -> tuple[bytes, ...]:
    """The keys, newest first: the given ones, else those of the environment (comma-separated), else the store's own.

    A memory store gets a key for this process alone. Raises ConfigError, which never shows a key. T11
    """
    texts = [given] if isinstance(given, str) else list(given or [])
    if not texts and environment.get(VARIABLE):
        texts = [one.strip() for one in environment[VARIABLE].split(",")]
    if texts:
        if any(len(one) < MIN_KEY_BYTES for one in texts):
            raise ConfigError(f"a challenge secret has {MIN_KEY_BYTES} characters or more; {HOW}")
        return tuple(one.encode("utf-8") for one in texts)
    if store_url.startswith("memory:"):
        return (secrets.token_bytes(MIN_KEY_BYTES),)
    if store_url.startswith(_SQLITE):
        return (_kept_beside(Path(unquote(store_url.removeprefix(_SQLITE)))),)
    raise ConfigError(f"this store may be shared by several machines, so they must share a challenge secret; {HOW}")


def _kept_beside(database: Path) -> bytes:
    """The secret in DATABASE.secret, readable by its owner only; created whole or not at all, also by two at once."""
    path = database.with_name(database.name + ".secret")
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(MIN_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first; its secret is ours too
                os.link(draft, path)
            _sync(path.parent)  # who lost the key to a power cut could not recognise what was paid before it
        except OSError as error:
            raise ConfigError(f"can't keep a challenge secret at {path}: {error.strerror}; {HOW}") from None
        finally:
            draft.unlink(missing_ok=True)
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
        text = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"can't read the challenge secret at {path}: {error.strerror}; {HOW}") from None
    if len(text) < MIN_KEY_BYTES or not text.isascii():
        raise ConfigError(f"{path} holds no secret; remove it to make a new one (open challenges become invalid)")
    return text


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
