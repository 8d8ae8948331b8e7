"""Private keys at rest: one encrypted file per wallet, and the search for the key to pay with.

    $COINSLOT_HOME/wallets/NAME.json     0600, in a folder of 0700

A file holds a 32-byte key, sealed with AES-256-GCM under a key that scrypt stretches from the passphrase. Name, method,
address and every parameter stand in clear and are sealed along (as associated data), so that no part of a file can be
exchanged for another. A file is read only in the one spelling in which it is written: any changed byte is an error.

A key that is lost is money that is lost, so a file is written whole or not at all, and never over another.
"""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from coinslot.core.instant import format_instant
from coinslot.errors import ConfigError, MissingDependency, UsageError, WalletError, WalletExists, WalletLocked

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
except ImportError as error:
    raise MissingDependency("wallets need cryptography", extra="cli") from error

FILE_VERSION = 1
# scrypt, since every OpenSSL has it (Argon2id asks for 3.2) and it costs a guesser as much memory as us. N = 2**17 with
# r = 8, p = 1 is what OWASP asks of new systems: 128 MiB and a third of a second for each guess, once for each payment.
COST_N = 2**17
BLOCK_R = 8
LANES_P = 1
# What we are ready to spend on a file that names its own cost: 16 MiB (old or tiny machines) to 1 GiB.
LEAST_COST_N = 2**14
MOST_COST_N = 2**20
# 128 bits never repeat (RFC 7914 leaves it open; NIST SP 800-132 asks for 128), so every file has a key of its own.
SALT_BYTES = 16
# The one nonce length of GCM that is used as it is (NIST SP 800-38D, 8.2).
NONCE_BYTES = 12
KEY_BYTES = 32
# Our files are about 500 bytes; anything larger is not ours.
MAX_FILE_BYTES = 4096
# Longer than any sentence one would type; keeps a wrong file given as passphrase file from being one.
MAX_PASSPHRASE_BYTES = 1024
# The wallet that is taken if there are several and none is named.
DEFAULT_NAME = "default"

HOME_VARIABLE = "COINSLOT_HOME"
KEY_VARIABLE = "COINSLOT_PRIVATE_KEY"
# Lower case, so that two names are two files on every file system.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z", re.ASCII)
_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})\Z", re.ASCII)


class _Stretch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["scrypt"]
    n: int
    r: int
    p: int
    salt: bytes


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Literal["aes-256-gcm"]
    nonce: bytes
    sealed: bytes


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    name: str
    method: str
    address: str
    created_at: str
    kdf: _Stretch
    cipher: _Sealed


@dataclass(frozen=True, slots=True)
class Wallet:
    """What is known of a wallet without its passphrase. `created_at` is RFC 3339 text."""

    name: str
    method: str
    address: str
    created_at: str
    path: Path


@dataclass(frozen=True, slots=True)
class FoundKey:
    """The key to pay with, "0x" and 64 hex digits, and the wallet it came from (None: from the environment)."""

    private_key: str = field(repr=False)
    wallet: Wallet | None


def parse_key(text: object) -> str:
    """A private key as "0x" and 64 lower-case hex digits. Raises UsageError, which never repeats the text. T38"""
    match = _KEY.match(text) if type(text) is str else None
    if match is None:
        raise UsageError("a private key is 64 hex digits, with or without 0x")
    return "0x" + match[1].lower()


def parse_name(text: str) -> str:
    """The name of a wallet. Raises UsageError."""
    if not _NAME.match(text):
        raise UsageError(
            "a wallet's name is 1 to 63 lower-case letters, digits, '-' and '_', and starts with a letter or digit"
        )
    return text


def parse_passphrase(text: str) -> bytes:
    """A passphrase as it is stretched: NFC, so that one sentence is one passphrase on every keyboard (RFC 8265).

    Raises UsageError for one that is empty, blank, too long or not text; never repeats it.
    """
    try:
        data = unicodedata.normalize("NFC", text).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError("the passphrase is not valid UTF-8") from None
    if not text.strip():
        raise UsageError("an empty passphrase protects nothing")
    if len(data) > MAX_PASSPHRASE_BYTES:
        raise UsageError(f"a passphrase is at most {MAX_PASSPHRASE_BYTES} bytes")
    return data


def home(environ: Mapping[str, str]) -> Path:
    """Where coinslot keeps its own files: $COINSLOT_HOME, else the user's data folder. Raises ConfigError."""
    if own := environ.get(HOME_VARIABLE):
        return Path(own)
    data = environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):  # the XDG specification: a relative path is to be ignored
        return Path(data) / "coinslot"
    try:
        return Path.home() / ".local" / "share" / "coinslot"
    except RuntimeError:
        raise ConfigError(f"there is no home directory; set {HOME_VARIABLE}") from None


class Keystore:
    """The wallets in one folder. Safe for several processes: of two that make one name, one gets WalletExists."""

    def __init__(self, folder: Path, *, cost_n: int = COST_N) -> None:
        """`cost_n` is scrypt's N for new files: a power of two; tests take LEAST_COST_N."""
        if cost_n & (cost_n - 1) or not LEAST_COST_N <= cost_n <= MOST_COST_N:
            raise UsageError(f"scrypt's N is a power of two from {LEAST_COST_N} to {MOST_COST_N}")
        self.folder = folder
        self._cost_n = cost_n

    def names(self) -> list[str]:
        """The names of the wallets, sorted; their files may still be damaged. Raises WalletError."""
        try:
            found = [path.stem for path in self.folder.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WalletError(f"{self.folder}: {error.strerror}") from None
        return sorted(name for name in found if _NAME.match(name))

    def find(self, name: str) -> Wallet:
        """A wallet as its file shows it; only `unlock` proves it. Raises UsageError, WalletError."""
        file = self._read(name)
        return Wallet(file.name, file.method, file.address, file.created_at, self._path(name))

    def create(
        self, name: str, *, method: str, address: str, private_key: str, passphrase: str, created_at_s: float
    ) -> Wallet:
        """Keep a key under a name. Raises UsageError, WalletError, WalletExists.

        When it returns, the file is on disk, whole and synced.
        """
        secret, passed = bytes.fromhex(parse_key(private_key)[2:]), parse_passphrase(passphrase)
        if self._path(name).exists():  # only to be quick: _write decides
            raise WalletExists(f"a wallet called {name!r} exists: {self._path(name)}")
        stretch = _Stretch("scrypt", self._cost_n, BLOCK_R, LANES_P, secrets.token_bytes(SALT_BYTES))
        blank = _Sealed("aes-256-gcm", secrets.token_bytes(NONCE_BYTES), b"")
        file = _File(FILE_VERSION, name, method, address, format_instant(created_at_s), stretch, blank)
        sealed = AESGCM(_stretch(passed, stretch)).encrypt(blank.nonce, secret, _encode(file))
        file = msgspec.structs.replace(file, cipher=msgspec.structs.replace(blank, sealed=sealed))
        self._write(name, _encode(file))
        return self.find(name)

    def unlock(self, name: str, passphrase: str) -> str:
        """The private key. Raises UsageError, WalletError, WalletLocked."""
        file, passed = self._read(name), parse_passphrase(passphrase)
        clear = msgspec.structs.replace(file, cipher=msgspec.structs.replace(file.cipher, sealed=b""))
        try:
            secret = AESGCM(_stretch(passed, file.kdf)).decrypt(file.cipher.nonce, file.cipher.sealed, _encode(clear))
        except InvalidTag:
            raise WalletLocked(f"wallet {name!r}: wrong passphrase, or the file was changed") from None
        return "0x" + secret.hex()

    def remove(self, name: str) -> None:
        """Delete a wallet's file, for ever. Raises UsageError, WalletError."""
        path = self._path(name)
        with _told(path):
            path.unlink()
            _sync(self.folder)

    def _path(self, name: str) -> Path:
        return self.folder / f"{parse_name(name)}.json"

    def _read(self, name: str) -> _File:
        path = self._path(name)
        with _told(path), path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        return _decode(data, name, str(path))

    def _write(self, name: str, data: bytes) -> None:
        """All or nothing, for its owner only (T38), never over another: a link fails where a rename would replace."""
        path = self._path(name)
        with _told(path):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.folder.stat().st_mode & 0o077:
                self.folder.chmod(0o700)
            draft = self.folder / f".{name}.{secrets.token_hex(8)}"
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.link(draft, path)
            finally:
                with suppress(FileNotFoundError):
                    draft.unlink()
            _sync(self.folder)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Failures of the file system in our words."""
    try:
        yield
    except FileNotFoundError:
        raise WalletError(f"there is no wallet called {path.stem!r} ({path})") from None
    except FileExistsError:
        raise WalletExists(f"a wallet called {path.stem!r} exists: {path}") from None
    except OSError as error:
        raise WalletError(f"{path}: {error.strerror or type(error).__name__}") from None


def _sync(folder: Path) -> None:
    """A new name is durable only when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode(file: _File) -> bytes:
    """The one spelling of a file; with an empty `sealed` it is the associated data."""
    return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"


def _decode(data: bytes, name: str, path: str) -> _File:
    if len(data) > MAX_FILE_BYTES:
        raise WalletError(f"{path} is larger than any wallet file")
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version > FILE_VERSION:
            raise WalletError(f"{path} was written by a newer coinslot (file version {version})")
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise WalletError(f"{path} is not a wallet file, or it is damaged") from None
    kdf, cipher = file.kdf, file.cipher
    ours = (
        file.version == FILE_VERSION
        and (kdf.r, kdf.p, len(kdf.salt)) == (BLOCK_R, LANES_P, SALT_BYTES)
        and LEAST_COST_N <= kdf.n <= MOST_COST_N
        and kdf.n & (kdf.n - 1) == 0
        and (len(cipher.nonce), len(cipher.sealed)) == (NONCE_BYTES, KEY_BYTES + 16)
        and _encode(file) == data
    )
    if not ours:
        raise WalletError(f"{path} is not a wallet file, or it is damaged")
    if file.name != name:
        raise WalletError(f"{path} is the file of a wallet called {file.name!r}; files can't be renamed")
    return file


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def _stretch(passphrase: bytes, stretch: _Stretch) -> bytes:
    try:
        return Scrypt(salt=stretch.salt, length=KEY_BYTES, n=stretch.n, r=stretch.r, p=stretch.p).derive(passphrase)
    except MemoryError:
        raise WalletError(f"{128 * stretch.r * stretch.n // 2**20} MiB of memory are needed, and not here") from None


def find_key(
    wallet: str | None,
    keystore: Keystore,
    passphrase: Callable[[str], str],
    environ: Mapping[str, str],
    read: Callable[[str], str] = str,
) -> FoundKey:
    """The key to pay with: of the named wallet, else COINSLOT_PRIVATE_KEY, else of the default or only wallet.

    `passphrase` is asked with the wallet's name, only if one is opened; `read` knows other spellings of a key (see
    method.Keyed). Raises ConfigError where there is no key or no telling which; UsageError, WalletError, WalletLocked.
    """
    if wallet is None and (given := environ.get(KEY_VARIABLE, "")):
        try:
            return FoundKey(parse_key(read(given.strip())), None)
        except UsageError as error:
            raise ConfigError(f"{KEY_VARIABLE}: {error}") from None
    if wallet is None:
        wallet = choose_wallet(keystore.names())
    found = keystore.find(wallet)
    return FoundKey(keystore.unlock(wallet, passphrase(wallet)), found)


def choose_wallet(names: list[str]) -> str:
    """The wallet to take where none was named: the only one, or the one called "default". Raises ConfigError."""
    if not names:
        raise ConfigError(
            f"there is no key to pay with: make one with 'coinslot wallet new NAME', or set {KEY_VARIABLE}"
        )
    if DEFAULT_NAME in names:
        return DEFAULT_NAME
    if len(names) > 1:
        raise ConfigError(
            f"there are {len(names)} wallets and none is called {DEFAULT_NAME!r}: "
            f"choose with --wallet ({', '.join(names)})"
        )
    return names[0]
