"""Paths that an upstream may read otherwise than we match them. T42

Our table is as exact as it is written; routers of other languages are not. Many take /Paid, /paid/ and /paid.json for
/paid, and servlet containers drop parameters (/paid;x=1) before they look. Where such a path falls under a wide route
and a plainer reading of it under a narrower one that has a price, nobody knows what it costs: it is refused. A spelling
that the table names itself has the price that stands there.
"""

from __future__ import annotations

import re

from coinslot.server.price import Route, Routes, literal, path_pattern

# Dot segments, with parameters too, empty segments, encoded slashes and dots, controls: no table can mean them.
_AMBIGUOUS = re.compile(
    rb"(?:^|/)\.{1,2}(?:(?:;|%3b)[^/]*)?(?:/|$)|//|%2f|%5c|%2e|\\|%00|[\x00-\x20\x7f]", re.IGNORECASE
)
# What some file systems and routers ignore at the end of a segment.
_IGNORED = re.compile(r"(?<![\x00-\x20\x7f.])[\x00-\x20\x7f.]++(?=/|\Z)")  # each run is looked at once. T41
_PARAMETERS = re.compile(r";[^/]*")
# The format that some frameworks let a client ask for; version numbers ("gpt-4.1") are none.
_FORMAT = re.compile(r"\.[A-Za-z]{2,5}\Z")


def is_ambiguous(raw_path: bytes) -> bool:
    """Whether a path as it was sent has two readings, whatever the table says."""
    return _AMBIGUOUS.search(raw_path) is not None


def _readings(path: str) -> tuple[str, ...]:
    plain = _IGNORED.sub("", _PARAMETERS.sub("", path))
    bare = plain.rstrip("/") or "/"
    return plain, bare, _FORMAT.sub("", bare)


class Spellings:
    """The narrower priced routes beside each route of a table."""

    def __init__(self, routes: Routes) -> None:
        priced = [
            (route, literal(route.path), path_pattern(route.path, re.IGNORECASE))
            for route in routes.routes
            if route.price is not None
        ]
        self._narrower = {
            wide.pattern: [
                (route, matcher)
                for route, length, matcher in priced
                if route is not wide and length > literal(wide.path)
            ]
            for wide in routes.routes
        }

    def slips(self, route: Route, method: str, path: str) -> bool:
        """Whether a path under this route is, to a lenient router, that of a narrower route with a price. T42"""
        narrower = self._narrower[route.pattern]
        if not narrower:
            return False
        readings = _readings(path)
        for one, matcher in narrower:
            if one.methods and method not in one.methods:
                continue
            more = (readings[1] + "/",) if one.path.endswith("/") else ()
            if any(matcher.match(reading) for reading in (*readings, *more)):
                return True
        return False
