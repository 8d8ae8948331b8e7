"""The failpoints that src/ names."""

from __future__ import annotations

import re

from support.mutation import SRC, TESTS

_ROOMS = sorted(path.stem for path in SRC.iterdir() if path.is_dir() or path.suffix == ".py")
_NAME = re.compile(r'"((?:gate|resolver|' + "|".join(_ROOMS) + r')\.[a-z_]+)"')


def named_in(text: str) -> set[str]:
    """The failpoint names in a text: quoted, of the form part.step."""
    return set(_NAME.findall(text))


FAILPOINTS = {
    name
    for path in sorted(SRC.rglob("*.py"))
    for text in [path.read_text(encoding="utf-8")]
    if "failpoint" in text or "store" in path.parts
    for name in named_in(text)
}


def struck_in_tests() -> set[str]:
    """The names that a test asks to be struck."""
    return {name for path in TESTS.rglob("test_*.py") for name in named_in(path.read_text(encoding="utf-8"))}
