"""Keys at rest: what goes in comes out, to the right passphrase only, and no file is lost, mixed up or believed."""

from __future__ import annotations

import base64
import errno
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coinslot.errors import CoinslotError, ConfigError, UsageError, WalletError, WalletExists, WalletLocked
from coinslot.services.keystore import (
    LEAST_COST_N,
    FoundKey,
    Keystore,
    Wallet,
    find_key,
    home,
    parse_key,
    parse_passphrase,
)

KEY = "0x" + "4f" * 32
OTHER_KEY = "0x" + "5e" * 32
ADDRESS = "0x" + "ab" * 20
PASSPHRASE = "correct horse battery staple"
KEYS = st.binary(min_size=32, max_size=32).map(lambda data: "0x" + data.hex())
# Text that a terminal or a file can give: no lone surrogates, at least one visible character.
PASSPHRASES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(lambda t: t.strip())


@pytest.fixture
def wallets(tmp_path: Path) -> Keystore:
    """An empty keystore, cheap to guess at."""
    return Keystore(tmp_path / "wallets", cost_n=LEAST_COST_N)


def keep(store: Keystore, name: str = "main", key: str = KEY, passphrase: str = PASSPHRASE) -> Wallet:
    """Keep a key."""
    return store.create(
        name, method="toy", address=ADDRESS, private_key=key, passphrase=passphrase, created_at_s=1_790_000_000
    )


def put(store: Keystore, name: str = "main", key: str = KEY) -> Path:
    """Keep a key, and say where."""
    return keep(store, name, key).path


def ask(_: str) -> str:
    """Answer the question for a passphrase."""
    return PASSPHRASE


def never_ask(name: str) -> str:
    """Fail if a passphrase is asked for."""
    raise AssertionError(f"asked for the passphrase of {name}")


@settings(max_examples=20)
@given(
    key=KEYS, passphrase=PASSPHRASES, method=st.from_regex(r"[a-z]{1,12}", fullmatch=True), address=st.text(max_size=60)
)
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, key: str, passphrase: str, method: str, address: str
) -> None:
    """Any key under any passphrase comes back, by another handle, with its name, method and address."""
    assume(address.isprintable() and address.isascii())
    folder = tmp_path_factory.mktemp("wallets")
    made = Keystore(folder, cost_n=LEAST_COST_N).create(
        "w", method=method, address=address, private_key=key, passphrase=passphrase, created_at_s=1_790_000_000
    )
    again = Keystore(folder)
    assert (made.name, made.method, made.address, made.created_at) == ("w", method, address, "2026-09-21T14:13:20Z")
    assert again.find("w") == made
    assert again.unlock("w", passphrase) == key


def test_the_key_is_not_in_the_file(wallets: Keystore) -> None:
    """Neither the key nor the passphrase stands in the file in any common spelling. T38"""
    data = put(wallets).read_bytes()
    raw = bytes.fromhex(KEY[2:])
    for secret in (KEY[2:].encode(), KEY[2:].upper().encode(), raw, base64.b64encode(raw)[:8], PASSPHRASE.encode()):
        assert secret not in data


def test_two_files_of_one_key_share_nothing(wallets: Keystore) -> None:
    """Salt and nonce are fresh for each file, so equal keys and passphrases don't show."""
    one, two = (json.loads(put(wallets, name).read_text()) for name in ("one", "two"))
    assert one["kdf"]["salt"] != two["kdf"]["salt"]
    assert one["cipher"]["nonce"] != two["cipher"]["nonce"]
    assert one["cipher"]["sealed"] != two["cipher"]["sealed"]


def test_new_files_cost_a_guesser_128_mebibytes(tmp_path: Path) -> None:
    """Unless asked otherwise a file is stretched with N = 2**17, r = 8, p = 1."""
    path = put(Keystore(tmp_path))
    kdf = json.loads(path.read_text())["kdf"]
    assert (kdf["name"], kdf["n"], kdf["r"], kdf["p"]) == ("scrypt", 2**17, 8, 1)


@settings(max_examples=20)
@given(wrong=PASSPHRASES)
def test_a_wrong_passphrase_opens_nothing(tmp_path_factory: pytest.TempPathFactory, wrong: str) -> None:
    """Only the passphrase itself opens the file; the error doesn't say how wrong another is."""
    assume(parse_passphrase(wrong) != parse_passphrase(PASSPHRASE))
    wallets = Keystore(tmp_path_factory.mktemp("wallets"), cost_n=LEAST_COST_N)
    put(wallets)
    with pytest.raises(WalletLocked) as caught:
        wallets.unlock("main", wrong)
    assert str(caught.value) == "wallet 'main': wrong passphrase, or the file was changed"


def test_one_sentence_is_one_passphrase(wallets: Keystore) -> None:
    """A passphrase typed with combining accents opens what one with composed letters closed."""
    keep(wallets, passphrase="caf\u00e9")
    assert wallets.unlock("main", "cafe\u0301") == KEY


@settings(max_examples=150)
@given(data=st.data())
def test_any_changed_byte_is_an_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A file with one byte changed, wherever, gives a named error and no key."""
    wallets = Keystore(tmp_path_factory.mktemp("wallets"), cost_n=LEAST_COST_N)
    path = put(wallets)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    path.write_bytes(content)
    with pytest.raises(WalletError):
        wallets.unlock("main", PASSPHRASE)


@settings(max_examples=100)
@given(junk=st.binary(max_size=600))
def test_junk_is_not_a_wallet(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    """Any other bytes in the file's place give a named error."""
    wallets = Keystore(tmp_path_factory.mktemp("wallets"))
    (wallets.folder / "main.json").write_bytes(junk)
    with pytest.raises(WalletError):
        wallets.find("main")


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_cut_file_is_not_a_wallet(wallets: Keystore, cut: int) -> None:
    """A file that lost its end gives a named error."""
    path = put(wallets)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WalletError, match="damaged"):
        wallets.unlock("main", PASSPHRASE)


def test_a_huge_file_is_not_read_through(wallets: Keystore) -> None:
    """A file far larger than a wallet's is refused by its size."""
    path = put(wallets)
    path.write_bytes(path.read_bytes() + b" " * 5000)
    with pytest.raises(WalletError, match="larger than"):
        wallets.find("main")


@pytest.mark.parametrize("n", [0, 3, 2**13, 2**17 + 1, 2**21, 2**60])
def test_a_file_can_not_ask_for_any_cost(wallets: Keystore, n: int) -> None:
    """A file that names a cost out of bounds is refused before a byte of memory is taken for it."""
    path = put(wallets)
    path.write_text(path.read_text().replace(str(LEAST_COST_N), str(n)))
    with pytest.raises(WalletError, match="damaged"):
        wallets.unlock("main", PASSPHRASE)


def test_a_newer_file_says_so(wallets: Keystore) -> None:
    """A file of a later version, whatever else is in it, is told apart from a damaged one."""
    wallets.folder.mkdir()
    (wallets.folder / "main.json").write_text('{"version": 2, "shape": "unheard of"}')
    with pytest.raises(WalletError, match="written by a newer coinslot"):
        wallets.find("main")


@pytest.mark.parametrize("field", ["method", "address", "created_at"])
def test_what_stands_in_clear_is_sealed_along(wallets: Keystore, field: str) -> None:
    """Method, address or time of another wallet can't be put on this key, though the file stays well formed."""
    path = put(wallets)
    members = json.loads(path.read_text())
    members[field] = {"method": "toz", "address": "0x" + "ac" * 20, "created_at": "2026-09-21T14:13:21Z"}[field]
    path.write_text(json.dumps(members, indent=2) + "\n")
    assert getattr(wallets.find("main"), field) == members[field]  # well formed
    with pytest.raises(WalletLocked):
        wallets.unlock("main", PASSPHRASE)


def test_a_file_can_not_take_another_name(wallets: Keystore) -> None:
    """A renamed file is refused by its name, and one whose inner name was changed too by its seal."""
    path = put(wallets)
    other = path.with_name("other.json")
    path.rename(other)
    with pytest.raises(WalletError, match="the file of a wallet called 'main'"):
        wallets.unlock("other", PASSPHRASE)
    other.write_text(other.read_text().replace('"name": "main"', '"name": "other"'))
    with pytest.raises(WalletLocked):
        wallets.unlock("other", PASSPHRASE)


def test_nothing_is_overwritten(wallets: Keystore) -> None:
    """A second wallet of the name is refused and the first stays as it was, byte for byte."""
    before = put(wallets).read_bytes()
    with pytest.raises(WalletExists):
        put(wallets, key=OTHER_KEY)
    assert wallets.find("main").path.read_bytes() == before


def test_nothing_is_overwritten_at_the_last_moment(wallets: Keystore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that appears after the first look is not overwritten either."""
    before = put(wallets).read_bytes()
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(WalletExists):
        put(wallets, key=OTHER_KEY)
    assert wallets.find("main").path.read_bytes() == before
    assert os.listdir(wallets.folder) == ["main.json"]


RACER = """
import sys
from pathlib import Path
from coinslot.errors import WalletExists
from coinslot.services.keystore import (
    LEAST_COST_N, FoundKey, Keystore, Wallet, find_key, home, parse_key, parse_passphrase,
)
store = Keystore(Path(sys.argv[1]), cost_n=LEAST_COST_N)
key = "0x" + sys.argv[2] * 32
print("ready", flush=True)
sys.stdin.readline()
try:
    store.create("main", method="toy", address="0xab", private_key=key, passphrase="race", created_at_s=0)
    print("won", key)
except WalletExists:
    print("lost", key)
"""


def test_of_two_processes_one_wins(tmp_path: Path) -> None:
    """Of several processes that make the same name at once exactly one succeeds, and the file holds its key."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), digits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for digits in ("11", "22", "33", "44")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    ends = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        output, _ = racer.communicate(timeout=60)
        ends.append(output.split())
    winners = [key for end, key in ends if end == "won"]
    assert len(winners) == 1, ends
    assert Keystore(tmp_path).unlock("main", "race") == winners[0]
    assert os.listdir(tmp_path) == ["main.json"]


@pytest.mark.guard("T38")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nobody_else_may_read(wallets: Keystore, umask: int) -> None:
    """The file is 0600 in a folder of 0700 whatever the umask, also if the folder was wider before."""
    if umask == 0o777:
        wallets.folder.mkdir(mode=0o755)
        umask = 0o022
    before = os.umask(umask)
    try:
        path = put(wallets)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_disk_leaves_nothing_behind(wallets: Keystore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A file that can't be synced or named gives a named error, and no piece of it stays."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(WalletError, match="No space left"):
        put(wallets)
    assert os.listdir(wallets.folder) == []


def test_a_removed_wallet_is_gone(wallets: Keystore) -> None:
    """After `remove` the name is free; removing it again is a named error."""
    put(wallets)
    wallets.remove("main")
    assert wallets.names() == []
    with pytest.raises(WalletError, match="no wallet called 'main'"):
        wallets.remove("main")
    put(wallets, key=OTHER_KEY)
    assert wallets.unlock("main", PASSPHRASE) == OTHER_KEY


def test_names_are_listed_in_order(wallets: Keystore) -> None:
    """Wallets are listed by name; drafts and other files in the folder are not wallets."""
    assert wallets.names() == []
    put(wallets, "b"), put(wallets, "a")
    (wallets.folder / ".c.0123").write_text("draft")
    (wallets.folder / "notes.txt").write_text("mine")
    (wallets.folder / "Upper.json").write_text("{}")
    assert wallets.names() == ["a", "b"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/etc/passwd", "A", "a b", "a\n", "a\0", "-a", "_a", "ä", "a" * 64, "a.json"],
)
def test_a_name_is_not_a_path(wallets: Keystore, name: str) -> None:
    """Names that could leave the folder, hide, or be an option are refused everywhere."""
    for act in (wallets.find, wallets.remove, lambda n: wallets.unlock(n, PASSPHRASE), lambda n: put(wallets, n)):
        with pytest.raises(UsageError):
            act(name)


NOT_KEYS = [
    "",
    "0x",
    "4f" * 31,
    "4f" * 33,
    "0x" + "4f" * 31 + "4g",
    " " + "4f" * 32,
    "4f" * 32 + "\n",
    "0X" + "4f" * 32,
]
NOT_KEYS += ["\uff14f" * 32, "-" + "4f" * 31 + "f"]


@pytest.mark.guard("T38")
@pytest.mark.parametrize("text", [*NOT_KEYS, None, 5, b"4f" * 32])
def test_a_key_is_64_hex_digits(text: object) -> None:
    """Anything but 64 hex digits, with or without 0x, is refused, and the refusal doesn't repeat it. T38"""
    with pytest.raises(UsageError) as caught:
        parse_key(text)
    assert "4f4f" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "x" * 1025, "\udcff"])
def test_a_passphrase_must_protect(wallets: Keystore, text: str) -> None:
    """An empty, blank, endless or unreadable passphrase is refused and nothing is written."""
    with pytest.raises(UsageError):
        keep(wallets, passphrase=text)
    assert wallets.names() == []


def test_home_is_where_the_environment_says() -> None:
    """COINSLOT_HOME first, then an absolute XDG_DATA_HOME, then the user's own data folder."""
    assert home({"COINSLOT_HOME": "/c", "XDG_DATA_HOME": "/x"}) == Path("/c")
    assert home({"XDG_DATA_HOME": "/x"}) == Path("/x/coinslot")
    assert home({"XDG_DATA_HOME": "x"}) == Path.home() / ".local/share/coinslot"


def test_a_named_wallet_comes_first(wallets: Keystore) -> None:
    """--wallet beats COINSLOT_PRIVATE_KEY."""
    put(wallets, "a")
    found = find_key("a", wallets, ask, {"COINSLOT_PRIVATE_KEY": OTHER_KEY})
    assert (found.private_key, found.wallet) == (KEY, wallets.find("a"))


def test_the_environment_comes_before_the_only_wallet(wallets: Keystore) -> None:
    """COINSLOT_PRIVATE_KEY beats the only wallet, and nobody is asked for a passphrase."""
    put(wallets, "a")
    found = find_key(None, wallets, never_ask, {"COINSLOT_PRIVATE_KEY": f" {OTHER_KEY[2:].upper()}\n"})
    assert found == FoundKey(OTHER_KEY, None)


def test_the_only_wallet_is_taken(wallets: Keystore) -> None:
    """With one wallet there is no need to name it; an empty variable counts as none."""
    put(wallets, "a")
    assert find_key(None, wallets, ask, {"COINSLOT_PRIVATE_KEY": ""}).private_key == KEY


def test_default_is_taken_among_several(wallets: Keystore) -> None:
    """Of several wallets the one called default is taken."""
    put(wallets, "a", OTHER_KEY), put(wallets, "default"), put(wallets, "z", OTHER_KEY)
    assert find_key(None, wallets, ask, {}).private_key == KEY


def test_no_telling_which(wallets: Keystore) -> None:
    """Several wallets without a default one: the error names them and the flag."""
    put(wallets, "a"), put(wallets, "b")
    with pytest.raises(ConfigError, match=r"--wallet \(a, b\)"):
        find_key(None, wallets, never_ask, {})


def test_no_key_at_all(wallets: Keystore) -> None:
    """No wallet and no variable: the error says how to get either."""
    with pytest.raises(ConfigError, match=r"coinslot wallet new.*COINSLOT_PRIVATE_KEY"):
        find_key(None, wallets, never_ask, {})


def test_a_bad_key_in_the_environment_is_not_passed_over(wallets: Keystore) -> None:
    """A malformed COINSLOT_PRIVATE_KEY is an error that doesn't repeat it; the wallet is not taken instead. T38"""
    put(wallets, "a")
    with pytest.raises(ConfigError, match="COINSLOT_PRIVATE_KEY") as caught:
        find_key(None, wallets, never_ask, {"COINSLOT_PRIVATE_KEY": "0x" + "4f" * 31})
    assert "4f4f" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.guard("T38")
def test_no_failure_shows_the_key(wallets: Keystore) -> None:
    """Neither repr, nor message, nor traceback of any failure carries the key or the passphrase."""
    put(wallets)
    shown = [repr(find_key("main", wallets, ask, {})), repr(wallets.find("main")), repr(wallets)]
    failures: list[Callable[[], object]] = [
        lambda: put(wallets),
        lambda: keep(wallets, "new", KEY + "00"),
        lambda: keep(wallets, "new", KEY, PASSPHRASE * 100),
        lambda: keep(wallets, "New"),
        lambda: wallets.unlock("main", PASSPHRASE + "!"),
        lambda: wallets.unlock("gone", PASSPHRASE),
        lambda: find_key(None, wallets, ask, {"COINSLOT_PRIVATE_KEY": KEY + "0"}),
    ]
    for fail in failures:
        with pytest.raises(CoinslotError) as caught:
            fail()
        shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value)]
    for text in shown:
        assert KEY[2:] not in text
        assert PASSPHRASE not in text
