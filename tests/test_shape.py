"""The shape of the code: which room may import which, who may touch clocks and sockets, how large it grows.

These rules let a payment method be added without editing a file, and payments be tested without a network.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "coinslot"
FILES = sorted(SRC.rglob("*.py"))

# A room imports only rooms listed before it, and its own folder.
ROOMS = (
    "version errors money core intents ledger drive chains store settings method plain methods client server transports"
    " services devnet cli"
).split()
# These say what a payment means on any method; they must not know that one exists.
NEUTRAL = {"core", "intents", "store", "client", "server"}
NAMES = re.compile(
    r"tempo(?!r)|solana|evm|ethereum|eip-?\d|erc-?\d|tip-?20|x402|stripe|lightning|bitcoin|xrpl|stellar|usdc|pathusd"
    r"|keccak|secp256k1|ed25519",
    re.IGNORECASE,
)
# Elsewhere time, randomness and IO are arguments or effects.
WORLDLY_ROOMS = {"drive", "store", "transports", "services", "devnet", "cli"}
WORLDLY_MODULES = set(
    "time.time time.monotonic time.sleep socket ssl select random secrets uuid asyncio threading subprocess"
    " httpx requests aiohttp sqlite3 psycopg urllib.request http.client shutil tempfile".split()
)
WORLDLY_CALLS = re.compile(
    r"time\.(?!strftime|gmtime)\w+|os\.(urandom|environ|getenv|getpid|open)|(datetime|date)\.(now|utcnow|today)"
    r"|open|input|print"
)
CHAIN_LIBRARIES = set(
    "coincurve sha3 rlp solders solana nacl base58 eth_account eth_abi eth_keys eth_utils web3 pytempo Crypto".split()
)
# Where a broad `except` may swallow: drivers hand every failure to the flow, a door turns it into an answer.
MAY_CATCH_ALL = {"drive.py", "transports/asgi.py", "transports/wsgi.py"}
MODULE_LINES = 600


class Import(NamedTuple):
    """One imported module, by its full dotted name, and the line."""

    target: str
    line: int


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name(path: Path) -> str:
    """The path below src/coinslot, for messages."""
    return path.relative_to(SRC).as_posix()


def module(path: Path) -> str:
    """The dotted name of a file."""
    parts = ("coinslot", *path.relative_to(SRC).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def room(dotted: str) -> str:
    """The room of a coinslot module; the package's own front door is called "front"."""
    return dotted.split(".")[1] if "." in dotted else "front"


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import of a file: at the top, inside functions, under TYPE_CHECKING."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                ours = full.startswith("coinslot.") and full not in MODULES
                found.append(Import(str(node.module) if ours else full, node.lineno))
    return tuple(found)


def own(path: Path) -> list[Import]:
    """The imports of coinslot's own modules."""
    return [each for each in imports(path) if each.target.split(".")[0] == "coinslot"]


def foreign(path: Path, modules: set[str]) -> list[str]:
    """Imports of any of these modules, or of what is inside them."""
    return [
        f"{name(path)}:{line} imports {target}"
        for target, line in imports(path)
        if any(target == each or target.startswith(each + ".") for each in modules)
    ]


INSIDE = [path for path in FILES if path != SRC / "__init__.py"]


def in_rooms(rooms: set[str]) -> list[Path]:
    """The files of these rooms."""
    return [path for path in INSIDE if room(module(path)) in rooms]


def test_every_file_is_in_a_room() -> None:
    """A new top-level module must be given its place in the order first."""
    assert [name(path) for path in INSIDE if room(module(path)) not in ROOMS] == []


def test_imports_run_one_way() -> None:
    """A room imports only rooms listed before it, and its own folder; nobody imports the front door."""
    wrong = []
    for path in INSIDE:
        mine = room(module(path))
        before = ROOMS[: ROOMS.index(mine) + 1]
        wrong += [f"{name(path)}:{line} imports {target}" for target, line in own(path) if room(target) not in before]
    assert wrong == []


def test_imports_have_no_circles() -> None:
    """No module reaches itself, not even by way of TYPE_CHECKING or an import inside a function."""
    graph = {module(path): {each.target for each in own(path)} for path in INSIDE}
    done: set[str] = set()

    def visit(at: str, trail: tuple[str, ...]) -> None:
        assert at not in trail, " -> ".join((*trail[trail.index(at) :], at))
        if at not in done:
            for target in sorted(graph.get(at, ())):
                visit(target, (*trail, at))
            done.add(at)

    for start in sorted(graph):
        visit(start, ())


def test_roles_do_not_know_each_other() -> None:
    """Client and server import neither each other nor, in one door, both."""
    wrong = []
    for path in in_rooms({"client", "server", "transports"}):
        roles = {room(each.target) for each in own(path)} | {room(module(path))}
        wrong += [name(path)] if {"client", "server"} <= roles else []
    assert wrong == []


def test_methods_compute_and_record_nothing() -> None:
    """A payment method imports no other method, no store and no role."""
    wrong = []
    for path in in_rooms({"methods"}):
        home = ".".join(module(path).split(".")[:3])
        for target, line in own(path):
            another = room(target) == "methods" and not (target == home or target.startswith(home + "."))
            if another or room(target) in {"store", "client", "server"}:
                wrong.append(f"{name(path)}:{line} imports {target}")
    assert wrong == []


@pytest.mark.parametrize("neutral", sorted(NEUTRAL))
def test_neutral_rooms_name_no_method_and_no_chain(neutral: str) -> None:
    """Protocol, intents, stores and both roles serve every method alike, and name none even in prose."""
    wrong = []
    for path in in_rooms({neutral}):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            wrong += [f"{name(path)}:{number}: {match[0]}" for match in NAMES.finditer(line)]
    assert wrong == []


def calls(path: Path) -> Iterator[tuple[str, int]]:
    """What a file calls or reads by dotted name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node), node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno


def test_only_the_outer_rooms_touch_the_world() -> None:
    """No clock, randomness, socket, file or environment where payments are computed."""
    wrong = []
    for path in in_rooms(set(ROOMS) - WORLDLY_ROOMS):
        wrong += foreign(path, WORLDLY_MODULES)
        wrong += [f"{name(path)}:{line} {what}" for what, line in calls(path) if WORLDLY_CALLS.fullmatch(what)]
    assert wrong == []


def test_chain_libraries_stay_with_the_chains() -> None:
    """The bare install works without any of them. A local chain that runs in our own process is its library."""
    others = set(ROOMS) - {"chains", "methods"}
    wrong = [
        each
        for path in in_rooms(others)
        if not name(path).startswith("devnet/svm/")
        for each in foreign(path, CHAIN_LIBRARIES)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", [each for each in FILES if each.name == "__init__.py"], ids=name)
def test_init_files_define_nothing(path: Path) -> None:
    """A package's front holds at most a docstring; coinslot's own re-exports names and lists them."""
    front = path == SRC / "__init__.py"
    for node in tree(path).body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        listed = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert text or (front and (listed or isinstance(node, ast.ImportFrom))), f"{name(path)}:{node.lineno}"


def test_nothing_is_swallowed() -> None:
    """`except Exception` either ends by raising or stands in a driver or a server's outermost door."""
    wrong = []
    for path in FILES:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler) or name(path) in MAY_CATCH_ALL:
                continue
            caught = ast.unparse(node.type) if node.type else "BaseException"
            broad = re.search(r"\b(Base)?Exception\b", caught) is not None
            if broad and not isinstance(node.body[-1], ast.Raise):
                wrong.append(f"{name(path)}:{node.lineno} except {caught}")
    assert wrong == []


def test_modules_stay_readable() -> None:
    """No module grows past what one sitting can hold."""
    sizes = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {each: lines for each, lines in sizes.items() if lines > MODULE_LINES} == {}


def undocumented(body: list[ast.stmt], inside: str = "") -> Iterator[str]:
    """Public functions and classes without a docstring; overloads speak through their implementation."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        overload = any("overload" in ast.unparse(each) for each in node.decorator_list)
        if not ast.get_docstring(node) and not overload:
            yield f"{inside}{node.name} (line {node.lineno})"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{node.name}.")


def test_public_names_are_documented() -> None:
    """Every public function, class and method says what it does; every module what it is for."""
    wrong = [f"{name(path)}: {each}" for path in FILES for each in undocumented(tree(path).body)]
    wrong += [
        f"{name(path)}: the module"
        for path in INSIDE
        if path.name != "__init__.py" and not ast.get_docstring(tree(path))
    ]
    assert wrong == []


# Put together here, so that this very file names none of them.
REGISTRIES = [
    f"{name}.{end}" for name, end in (("pypi", "org"), ("npmjs", "org"), ("npmjs", "com"), ("pythonhosted", "org"))
]


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the installing machine's business: lock files and documents leave it out."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    named = [
        (path.name, host)
        for path in files
        if path.is_file()
        for host in REGISTRIES
        if host.encode() in path.read_bytes()
    ]
    assert files, "not a git checkout"
    assert named == []
