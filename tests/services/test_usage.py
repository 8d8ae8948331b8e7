"""What an upstream says that an answer used."""

from __future__ import annotations

import pytest

from coinslot.errors import UsageError
from coinslot.services.usage import parse_path, read_usage


@pytest.mark.parametrize(
    ("document", "path", "units"),
    [
        (b'{"usage":{"total_tokens":42}}', "usage.total_tokens", 42),
        (b'{"usage":{"total_tokens":0}}', "usage.total_tokens", 0),
        (b'{"seconds":1.25}', "seconds", 2),
        (b'{"results":[{"n":1},{"n":7}]}', "results.1.n", 7),
        (b'{"n":[3]}', "n.0", 3),
        (b'{"usage":null}', "usage.total_tokens", None),
        (b'{"usage":{"total_tokens":null}}', "usage.total_tokens", None),
        (b'{"usage":{"total_tokens":"42"}}', "usage.total_tokens", None),
        (b'{"usage":{"total_tokens":true}}', "usage.total_tokens", None),
        (b'{"usage":{"total_tokens":-1}}', "usage.total_tokens", None),
        (b'{"usage":{"total_tokens":1e999}}', "usage.total_tokens", None),
        (b'{"n":[3]}', "n.1", None),
        (b'{"n":[3]}', "n.m", None),
        (b"total_tokens", "usage.total_tokens", None),
        (b"\xff total_tokens", "usage.total_tokens", None),
        (b'{"n":' * 5000 + b"1" + b"}" * 5000, "n", None),
        (b"", "n", None),
    ],
)
def test_a_number_of_units_or_no_word(document: bytes, path: str, units: int | None) -> None:
    """Parts of a unit count whole; what is no number of 0 or more is no word."""
    assert read_usage(document, parse_path(path)) == units


@pytest.mark.parametrize("path", ["", ".", "a.", "a..b", "a b", "$.a[0]", "a" * 65, ".".join("a" * 17)])
def test_a_path_is_steps_between_dots(path: str) -> None:
    """Nothing else is one."""
    with pytest.raises(UsageError, match="no path"):
        parse_path(path)
