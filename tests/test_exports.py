"""What `import coinslot` offers: exactly what docs/api.md lists, on the bare install, without loading an extra."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import coinslot

ROOT = Path(__file__).resolve().parent.parent
LISTED = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
SRC = ROOT / "src" / "coinslot"

# Everything that `pip install coinslot` brings besides the standard library.
BARE = "anyio certifi coinslot h11 httpcore httpx idna msgspec rfc8785 sniffio typing_extensions".split()
# Rooms that hold no chain and no framework work without any extra; so do these doors and stores.
BARE_ROOMS = ["core", "intents", "client", "server"]
BARE_MODULES = (
    "drive errors ledger method money version store.memory store.sqlite transports.httpx transports.asgi"
    " transports.wsgi"
).split()

BLOCKER = """
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {bare!r} and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {{name!r}} on the bare install", name=name)
sys.meta_path.insert(0, Bare())
"""


def in_bare_python(code: str) -> str:
    """What this code prints in a fresh interpreter that has the bare install and nothing else."""
    command = [sys.executable, "-c", BLOCKER.format(bare=set(BARE)) + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_exported_names_are_the_documented_names() -> None:
    """A name is public when docs/api.md lists it, in the same order, and only then."""
    assert list(coinslot.__all__) == LISTED
    modules = {path.stem for path in SRC.iterdir()}
    offered = {name for name in vars(coinslot) if not name.startswith("_")} - modules
    assert offered | {"__version__"} == set(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_each_exported_name_is_there(name: str) -> None:
    """Every listed name can be imported, and what can carry a docstring has one."""
    value = getattr(coinslot, name)
    assert isinstance(value, str) or value.__doc__


def test_the_version_is_the_installed_one() -> None:
    """The constant in the code and the metadata of the package say the same."""
    assert coinslot.__version__ == metadata.version("coinslot")


def test_importing_coinslot_loads_no_extra() -> None:
    """`import coinslot` pulls in only the standard library and the bare install, and needs nothing more."""
    printed = in_bare_python("import coinslot; print(*sys.modules)")
    tops = {each.partition(".")[0] for each in printed.split()}
    foreign = {each for each in tops if each not in sys.stdlib_module_names and not each.startswith("_")}
    assert foreign <= set(BARE)


def bare_modules() -> list[str]:
    """The modules that must work on the bare install."""
    files = [path for room in BARE_ROOMS for path in sorted((SRC / room).rglob("*.py"))]
    files += [path for each in BARE_MODULES if (path := SRC / (each.replace(".", "/") + ".py")).exists()]
    dotted = [".".join(path.relative_to(SRC).with_suffix("").parts) for path in files]
    return [f"coinslot.{each.removesuffix('.__init__')}" for each in dotted]


def test_the_bare_install_is_enough_for_protocol_gate_and_httpx() -> None:
    """Core, intents, both roles, SQLite and the doors without a framework import no extra."""
    in_bare_python("import importlib\nfor each in " + repr(bare_modules()) + ": importlib.import_module(each)")
