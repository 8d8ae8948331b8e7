"""The failpoints that src/ names."""

from __future__ import annotations

import re

from support.mutation import SRC, TESTS

# Quoted, of the form part.step; stores pass the names of their operations on.
_CALLED = re.compile(r'\bfailpoint\(\s*"([^"]+)"')
_STORED = re.compile(r'"(store\.[a-z_.]+)"')
_QUOTED = re.compile(r'"([a-z]+(?:\.[a-z_]+)+)"')


def _named_in_source() -> set[str]:
    found: set[str] = set()
    for path in sorted(SRC.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found |= set(_CALLED.findall(text))
        if "store" in path.relative_to(SRC).parts:
            found |= set(_STORED.findall(text))
    return found


FAILPOINTS = _named_in_source()


def struck_in_tests() -> set[str]:
    """The failpoints that tests name, in whatever list they keep them."""
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    return FAILPOINTS & {name for text in texts for name in _QUOTED.findall(text)}


def under(*rooms: str, apart: tuple[str, ...] = ()) -> list[str]:
    """The failpoints whose names begin so, and not with any of `apart`, sorted."""
    return sorted(name for name in FAILPOINTS if name.startswith(rooms) and not name.startswith(apart))
