"""Paths that are made to keep a table of routes busy, and what its patterns mean."""

from __future__ import annotations

import re
import time
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coinslot.server.price import Price, Route, Routes, path_pattern
from coinslot.services.spelling import Spellings
from support.patience import within

# Matching one takes microseconds to a few milliseconds; a pattern that tries all ways takes seconds to hours.
SLOW_S = within(0.5)
LONG = 60_000


@pytest.mark.guard("T41")
@pytest.mark.parametrize(
    ("pattern", "piece", "end"),
    [
        ("/**/a/**/b", "/a", "/z"),
        ("/**/a/**/b/**/c", "/a/b", "/z"),
        ("/v1/**/files/**/raw/*", "/files", ""),
        ("/{year}-{month}-{day}", "/", "-" * LONG + "/"),
        ("/**/{a}-{b}-{c}/x", "/", "-" * LONG),
        ("/**.tar.**.gz.**.x", ".tar.gz", "/"),
    ],
)
def test_no_path_takes_long_to_match(pattern: str, piece: str, end: str) -> None:
    """As long as a head may be, and almost what the route is for; it has not been paid for yet."""
    route = Route(pattern, None)
    path = piece * (LONG // len(piece) if len(piece) > 1 else 1) + end
    began = time.perf_counter()
    route.covers(path)
    assert time.perf_counter() - began < SLOW_S


@pytest.mark.guard("T41")
@pytest.mark.parametrize("piece", [".", " ", ";", "/.", "./", ".a", ";a/"])
def test_no_spelling_takes_long_to_read(piece: str) -> None:
    """Of what lenient upstreams ignore there may be a lot."""
    priced, free = Route("GET /paid", cast("Price", object())), Route("GET /**", None)
    spellings, path = Spellings(Routes((priced, free))), "/" + piece * (LONG // len(piece)) + "x"
    began = time.perf_counter()
    assert not spellings.slips(free, "GET", path)
    assert time.perf_counter() - began < SLOW_S


def plainly(path: str) -> re.Pattern[str]:
    """The same by trying all ways."""
    text, at = "", 0
    for step in re.finditer(r"\*\*|\*|\{x\}", path):
        last = step.end() == len(path)
        text += re.escape(path[at : step.start()])
        text += ".*" if step.group() == "**" or (step.group() == "*" and last) else "[^/]+"
        at = step.end()
    return re.compile(text + re.escape(path[at:]) + r"\Z", re.DOTALL)


PATTERNS = st.lists(st.sampled_from(["**", "*", "{x}", "/", "a", "b", "-", "/a", "a/"]), max_size=8)


@given(
    PATTERNS.map(lambda parts: "/" + "".join(parts)), st.lists(st.text("/ab-", max_size=10), min_size=30, max_size=30)
)
@example("/{x}-a", ["1-a-a"])
@example("/**/{x}b/**", ["/a/bb/"])
def test_a_pattern_means_what_all_ways_to_read_it_mean(pattern: str, paths: list[str]) -> None:
    """However it is looked for."""
    ours, plain = path_pattern(pattern), plainly(pattern)
    for path in paths:
        assert bool(ours.match("/" + path)) == bool(plain.match("/" + path)), "/" + path
