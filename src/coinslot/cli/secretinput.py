"""How secrets come in: from a hidden prompt, a file, standard input or the environment; never from the command line,
which every user of the machine can read, and which shells write into their history.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from coinslot.errors import UsageError
from coinslot.services.keystore import MAX_PASSPHRASE_BYTES, parse_key, parse_passphrase

PASSPHRASE_VARIABLE = "COINSLOT_PASSPHRASE"
# 64 digits and "0x", or 64 numbers of up to three digits in a list, with line ends and spaces around them.
_MAX_KEY_BYTES = 1024
STDIN = Path("-")


def read_passphrase(file: Path | None, question: str, *, twice: bool = False) -> str:
    """The passphrase: from `file`, else COINSLOT_PASSPHRASE, else asked at the terminal (`twice`: and once more).

    One line end at the end of a file is not part of it. Raises UsageError for an empty one, for two that differ, and
    where there is no terminal to ask at.
    """
    if file is not None:
        text = _read(file, MAX_PASSPHRASE_BYTES, "passphrase file").removesuffix("\n").removesuffix("\r")
    elif (given := os.environ.get(PASSPHRASE_VARIABLE)) is not None:
        text = given
    else:
        text = _ask(f"{question}: ", f"--passphrase-file FILE or {PASSPHRASE_VARIABLE}")
        parse_passphrase(text)
        if twice and _ask("The same again: ", "") != text:
            raise UsageError("the two passphrases differ; nothing was written")
    parse_passphrase(text)
    return text


def read_key(file: Path | None, read: Callable[[str], str] = str) -> str:
    """A private key to import: from `file` ("-": standard input), else from standard input if that is not a terminal,
    else asked. `read` knows other spellings (see method.Keyed). Raises UsageError, which never repeats it.
    """
    if file is None and sys.stdin.isatty():
        return parse_key(read(_ask("Private key (not shown): ", "--key-file FILE").strip()))
    return parse_key(read(_read(file or STDIN, _MAX_KEY_BYTES, "key file").strip()))


def _ask(question: str, instead: str) -> str:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:  # getpass would fall back to reading with the echo on
        raise UsageError(f"there is no terminal to ask at; use {instead}") from None
    try:
        return getpass.getpass(question)
    except EOFError:
        raise typer.Abort from None
    except UnicodeDecodeError:
        raise UsageError("what was typed is not valid UTF-8") from None


def _read(file: Path, limit: int, what: str) -> str:
    try:
        if file == STDIN:
            data = sys.stdin.buffer.read(limit + 3)
        else:
            with file.open("rb") as stream:
                data = stream.read(limit + 3)
    except OSError as error:
        raise UsageError(f"{what} {file}: {error.strerror}") from None
    if len(data) > limit + 2:
        raise UsageError(f"{what} {file} is longer than {limit} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{what} {file} is not UTF-8 text") from None
