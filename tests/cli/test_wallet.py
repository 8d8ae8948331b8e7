"""`coinslot wallet` as a program: what it keeps, what it asks, what it never shows."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from coinslot.cli.main import main
from coinslot.cli.output import ExitCode
from coinslot.cli.wallet import wallets
from support.devnet import Chain

# The first account of every development chain: its address is public knowledge, and so a test of the derivation.
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
PASSPHRASE = "a canary in a coal mine"
COMMAND = [sys.executable, "-m", "coinslot.cli.main", "wallet"]
# A prompt comes within the start of a Python program; a busy machine may need many times that.
PROMPT_S = 30.0


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, a passphrase in the environment, no key in it; of the payment methods, one is meant."""
    monkeypatch.setenv("COINSLOT_METHOD", "tempo")
    monkeypatch.setenv("COINSLOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COINSLOT_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("COINSLOT_PRIVATE_KEY", raising=False)
    return tmp_path / "home"


def test_where_several_methods_have_keys_one_must_be_named(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By --method or COINSLOT_METHOD; else nothing is kept, and the error names them."""
    monkeypatch.delenv("COINSLOT_METHOD")
    assert main(["wallet", "new", "alice"]) == 2
    told = capsys.readouterr().err
    assert "tempo" in told
    assert "solana" in told
    assert wallets().names() == []
    assert main(["wallet", "new", "alice", "--method", "solana"]) == 0
    assert wallets().find("alice").method == "solana"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The key in a file, as other programs write it."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


def coinslot(*arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `coinslot wallet ...` to its end, without a terminal."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environ,
        start_new_session=True,  # away from any terminal that runs these tests
    )


def at_terminal(*arguments: str, answers: tuple[str, ...]) -> tuple[int, str]:
    """Run `coinslot wallet ...` at a terminal of its own and answer its questions; exit code and all that it shows."""
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    environ = {key: value for key, value in os.environ.items() if key != "COINSLOT_PASSPHRASE"}
    # a session's first terminal to be opened becomes its own, which is what /dev/tty means
    launch = (
        "import os, sys; os.close(os.open(sys.argv[1], os.O_RDWR));"
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", launch, name, *COMMAND[1:], *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        start_new_session=True,
    )
    os.close(theirs)
    shown, left = b"", list(answers)
    try:
        while True:
            assert select.select([ours], [], [], PROMPT_S)[0], f"silent after {shown!r}"
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # Linux: the other side has closed
                break
            if not chunk:
                break
            shown += chunk
            if chunk.endswith(b": ") and left:
                os.write(ours, left.pop(0).encode() + b"\n")
    finally:
        os.close(ours)
        code = process.wait(timeout=60)
    return code, shown.decode()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> object:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main(["wallet", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_new_wallet_is_kept_and_listed(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`new` makes a key, `list` and `show` tell its address, and it opens to exactly that address."""
    made = told(capsys, "new", "alice")
    assert isinstance(made, dict)
    assert list(made) == ["name", "method", "address", "created_at", "path"]
    assert (made["name"], made["method"], made["path"]) == ("alice", "tempo", str(own_home / "wallets" / "alice.json"))
    assert told(capsys, "list") == [made]
    assert told(capsys, "show", "alice", "--verify") == made
    assert told(capsys, "show", "alice") == made


def test_two_new_wallets_differ(capsys: pytest.CaptureFixture[str]) -> None:
    """Every new key is another one."""
    one, two = told(capsys, "new", "one"), told(capsys, "new", "two")
    assert isinstance(one, dict)
    assert isinstance(two, dict)
    assert one["address"] != two["address"]


def test_an_imported_key_has_its_address(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key from a file becomes the wallet of the address that everybody derives from it."""
    made = told(capsys, "import", "dev", "--key-file", str(key_file))
    assert isinstance(made, dict)
    assert made["address"] == ADDRESS
    assert wallets().unlock("dev", PASSPHRASE) == KEY


@pytest.mark.parametrize("flags", [[], ["--key-file", "-"]])
def test_a_key_comes_through_standard_input(flags: list[str]) -> None:
    """What is piped in is the key, with or without 0x, named or not."""
    ended = coinslot("import", "dev", "--json", *flags, stdin=f"{KEY[2:]}\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["address"] == ADDRESS


@pytest.mark.parametrize("text", ["", "0x12", KEY + "00", KEY[:-1] + "g", "0x" + "00" * 32, "0x" + "ff" * 32, "\udcff"])
def test_a_bad_key_is_refused_unrepeated(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no key of the curve is a usage error that doesn't show it, and nothing is kept. T38"""
    path = tmp_path / "key"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["wallet", "import", "dev", "--key-file", str(path)]) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(text) < 5 or text[4:20] not in shown.err
    assert told(capsys, "list") == []


@pytest.mark.guard("T38")
def test_no_argument_is_a_key(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key on the command line is refused, whatever else is given, and not repeated."""
    good = ["--key-file", str(key_file)]
    for arguments in (["--private-key", KEY], [f"--private-key={KEY}"], [f"--key={KEY}"], [KEY], [KEY[2:], "--json"]):
        assert main(["wallet", "import", "dev", *good, *arguments]) == ExitCode.USAGE
        assert "ac0974" not in "".join(capsys.readouterr())
    assert told(capsys, "list") == []


def test_a_wallet_is_never_overwritten(key_file: Path, own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither `new` nor `import` touches a wallet of that name, and there is no flag to make them."""
    assert main(["wallet", "new", "alice"]) == 0
    before = (own_home / "wallets" / "alice.json").read_bytes()
    capsys.readouterr()
    for again in (["new", "alice"], ["import", "alice", "--key-file", str(key_file)]):
        assert main(["wallet", *again, "--json"]) == ExitCode.FAILURE
        assert json.loads(capsys.readouterr().err)["error"]["code"] == "wallet-exists"
        assert main(["wallet", *again, "--force"]) == ExitCode.USAGE
        capsys.readouterr()
    assert (own_home / "wallets" / "alice.json").read_bytes() == before


def test_a_wrong_passphrase_says_no_more(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong passphrase and a changed file end alike: exit code 1, one name, the same words."""
    path = Path(str(told(capsys, "new", "alice")["path"]))  # type: ignore[index]
    good = path.read_text()
    ends = []
    for passphrase, content in (("wrong", good), (PASSPHRASE, good.replace("0x", "0y", 1))):
        monkeypatch.setenv("COINSLOT_PASSPHRASE", passphrase)
        path.write_text(content)
        ends.append((main(["wallet", "show", "alice", "--verify", "--json"]), capsys.readouterr().err))
    assert ends[0] == ends[1]
    assert ends[0][0] == ExitCode.FAILURE
    assert json.loads(ends[0][1])["error"]["code"] == "wallet-locked"


def test_the_passphrase_file_comes_before_the_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--passphrase-file beats COINSLOT_PASSPHRASE; its last line end is not part of the passphrase."""
    file = tmp_path / "passphrase"
    file.write_text("from a file\r\n")
    told(capsys, "new", "alice", "--passphrase-file", str(file))
    assert main(["wallet", "show", "alice", "--verify"]) == ExitCode.FAILURE
    file.write_text("from a file")
    assert main(["wallet", "show", "alice", "--verify", "--passphrase-file", str(file)]) == 0


@pytest.mark.parametrize("content", [b"", b"\n", b"   \n", b"\xff\xfe", b"x" * 1100])
def test_a_useless_passphrase_file_is_refused(content: bytes, tmp_path: Path, own_home: Path) -> None:
    """Empty, blank, unreadable or endless: a usage error, and no wallet."""
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    assert main(["wallet", "new", "alice", "--passphrase-file", str(file)]) == ExitCode.USAGE
    assert not (own_home / "wallets").exists()


def test_a_missing_passphrase_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The error says which file and why."""
    assert main(["wallet", "new", "alice", "--passphrase-file", "/nowhere/p"]) == ExitCode.USAGE
    assert "passphrase file /nowhere/p: No such file or directory" in capsys.readouterr().err


def test_an_empty_passphrase_is_refused(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    """COINSLOT_PASSPHRASE set to nothing is an error, not a question."""
    monkeypatch.setenv("COINSLOT_PASSPHRASE", "")
    assert main(["wallet", "new", "alice"]) == ExitCode.USAGE
    assert not (own_home / "wallets").exists()


def test_without_a_terminal_nothing_is_asked() -> None:
    """No passphrase and no terminal: the error names the other ways, at once."""
    environ = {key: value for key, value in os.environ.items() if key != "COINSLOT_PASSPHRASE"}
    ended = subprocess.run(
        [*COMMAND, "new", "alice"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env=environ, start_new_session=True,
    )  # fmt: skip
    assert ended.returncode == ExitCode.USAGE
    assert "--passphrase-file FILE or COINSLOT_PASSPHRASE" in ended.stderr


def test_the_terminal_asks_twice_and_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A passphrase is typed twice without echo; key and passphrase never appear on the screen."""
    code, screen = at_terminal("import", "dev", answers=(KEY, "typed secret", "typed secret"))
    assert code == 0, screen
    assert ADDRESS in screen
    assert "typed secret" not in screen
    assert KEY[2:] not in screen
    code, screen = at_terminal("show", "dev", "--verify", answers=("typed secret",))
    assert code == 0, screen
    assert "typed secret" not in screen
    assert [wallet["name"] for wallet in told(capsys, "list")] == ["dev"]  # type: ignore[attr-defined]


def test_two_different_passphrases_keep_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip at the second typing leaves no wallet that nobody could open."""
    code, screen = at_terminal("new", "alice", answers=("one", "two"))
    assert code == ExitCode.USAGE
    assert "the two passphrases differ" in screen
    assert told(capsys, "list") == []


def test_removing_wants_the_name_typed(capsys: pytest.CaptureFixture[str]) -> None:
    """`remove` asks for the name; anything else, or nothing, removes nothing."""
    assert main(["wallet", "new", "alice"]) == 0
    for answer in ("y\n", "Alice\n", "\n", ""):
        assert coinslot("remove", "alice", stdin=answer).returncode == ExitCode.FAILURE
        assert len(told(capsys, "list")) == 1  # type: ignore[arg-type]
    ended = coinslot("remove", "alice", "--json", stdin="alice\n")
    assert (ended.returncode, json.loads(ended.stdout)) == (0, {"removed": "alice"})
    assert told(capsys, "list") == []


def test_removing_with_yes_asks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """--yes is for scripts; a wallet that isn't there is a named error."""
    assert main(["wallet", "new", "alice"]) == 0
    assert told(capsys, "remove", "alice", "--yes") == {"removed": "alice"}
    assert main(["wallet", "remove", "alice", "--yes"]) == ExitCode.FAILURE
    assert "there is no wallet called 'alice'" in capsys.readouterr().err


def test_a_damaged_wallet_is_told_and_hides_no_other(capsys: pytest.CaptureFixture[str], own_home: Path) -> None:
    """`list` shows the wallets that can be read, names the file that can't, and ends with 1; it can be removed."""
    assert main(["wallet", "new", "alice"]) == 0
    (own_home / "wallets" / "broken.json").write_text("{}")
    capsys.readouterr()
    assert main(["wallet", "list", "--json"]) == ExitCode.FAILURE
    shown = capsys.readouterr()
    assert [wallet["name"] for wallet in json.loads(shown.out)] == ["alice"]
    assert "broken.json is not a wallet file, or it is damaged" in shown.err
    assert main(["wallet", "remove", "broken", "--yes"]) == 0
    assert main(["wallet", "list"]) == 0


def test_an_exported_key_is_a_new_private_file(
    tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`export` writes the key to a new file of 0600, shows it nowhere, and leaves existing files alone."""
    told(capsys, "import", "dev", "--key-file", str(key_file))
    out = tmp_path / "out"
    assert main(["wallet", "export", "dev", "--key-file", str(out)]) == 0
    assert out.read_text() == f"{KEY}\n"
    assert out.stat().st_mode & 0o777 == 0o600
    assert main(["wallet", "export", "dev", "--key-file", str(out)]) == ExitCode.USAGE
    assert KEY[2:] not in "".join(capsys.readouterr())


def test_a_name_can_not_leave_the_folder(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that are paths, hidden or in capitals are usage errors for every command."""
    for name in ("../alice", "/tmp/alice", ".alice", "Alice", ""):
        for command in (["new", name], ["show", name], ["remove", name, "--yes"]):
            assert main(["wallet", *command]) == ExitCode.USAGE, command
    assert not own_home.exists()
    assert "lower-case" in capsys.readouterr().err


def test_an_unknown_method_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """--method must be installed, and have keys."""
    assert main(["wallet", "new", "a", "--method", "cash"]) == ExitCode.USAGE
    assert "no payment method is called 'cash'" in capsys.readouterr().err
    assert main(["wallet", "new", "a", "--method", "toy"]) == ExitCode.USAGE
    assert "'toy' has no keys that a wallet could keep" in capsys.readouterr().err


@pytest.mark.devnet
def test_the_balance_is_the_chains(devnet: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """`balance` asks the chain what the address owns: all known tokens, or the named ones; without a passphrase."""
    wallet = told(capsys, "new", "alice")
    assert isinstance(wallet, dict)
    devnet.fund(str(wallet["address"]), 1_234_560)
    os.environ["COINSLOT_PASSPHRASE"] = "not needed"  # the fixture puts it back
    all_ = told(capsys, "balance", "alice", "--rpc-url", devnet.rpc_url)
    assert isinstance(all_, dict)
    assert [row["symbol"] for row in all_["balances"]] == ["pathUSD", "AlphaUSD", "BetaUSD", "ThetaUSD"]
    assert all_["balances"][0] == {
        "network": "eip155:42431",
        "token": devnet.tokens["PathUSD"].lower(),
        "symbol": "pathUSD",
        "amount_units": "1234560",
        "decimals": 6,
        "amount": "1.23456",
    }
    one = told(capsys, "balance", "--rpc-url", devnet.rpc_url, "--token", devnet.tokens["BetaUSD"])
    assert isinstance(one, dict)
    assert [(row["symbol"], row["amount_units"]) for row in one["balances"]] == [("BetaUSD", "0")]
    assert main(["wallet", "balance", "--rpc-url", devnet.rpc_url]) == 0
    assert "1.23456 pathUSD (eip155:42431/" in capsys.readouterr().out


@pytest.mark.devnet
def test_a_token_that_is_none_is_named(devnet: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """An address without a token, or no address at all, is a usage error."""
    told(capsys, "new", "alice")
    for token in ("0x" + "12" * 20, "pathUSD"):
        assert main(["wallet", "balance", "--rpc-url", devnet.rpc_url, "--token", token]) == ExitCode.USAGE


def test_a_chain_that_is_not_there_is_a_network_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3 and the name of the error; an RPC URL that is none is a usage error that doesn't repeat it."""
    told(capsys, "new", "alice")
    assert main(["wallet", "balance", "--rpc-url", "http://127.0.0.1:1", "--json"]) == ExitCode.NETWORK
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "rpc-unreachable"
    assert main(["wallet", "balance", "--rpc-url", "ftp://user:secret@host"]) == ExitCode.USAGE
    assert "secret" not in capsys.readouterr().err


@pytest.mark.guard("T38")
def test_no_secret_is_shown_anywhere(tmp_path: Path, key_file: Path, own_home: Path) -> None:
    """Through every command and many failures neither key nor passphrase is in any output or any other file."""
    runs = [
        ("import", "dev", "--key-file", str(key_file)),
        ("import", "dev", "--key-file", str(key_file)),
        ("import", "two", "--key-file", str(key_file), "--method", "cash"),
        ("import", "two", KEY),
        ("new", "three", "--passphrase-file", str(tmp_path / "none")),
        ("list",),
        ("show", "dev", "--verify"),
        ("balance", "dev", "--rpc-url", "http://127.0.0.1:1"),
        ("export", "dev", "--key-file", "/nowhere/key"),
        ("remove", "dev"),
    ]
    shown = ""
    for arguments in runs:
        for more in ([], ["--json"]):
            ended = coinslot(*arguments, *more, COINSLOT_DEBUG="1" if more else "")
            shown += ended.stdout + ended.stderr
    shown += coinslot("show", "dev", "--verify", COINSLOT_PASSPHRASE=PASSPHRASE + "x").stderr
    shown += coinslot("import", "four", "--key-file", str(key_file), COINSLOT_DEBUG="1", COINSLOT_PASSPHRASE="").stderr
    assert "Traceback" in shown  # the debug runs did show where
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != key_file]
    assert own_home / "wallets" / "dev.json" in files
    kept = b"".join(path.read_bytes() for path in files)
    for secret in (KEY[2:], KEY[2:].upper(), PASSPHRASE):
        assert secret not in shown
        assert secret.encode() not in kept
    assert bytes.fromhex(KEY[2:]) not in kept
