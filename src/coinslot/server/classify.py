"""One classifier for the doors that charge by a route table: what is this request to them? T42

A framework may route more than our patterns say: another spelling of a path, a method it folds to upper case, a method
override of an inner layer. What could reach a priced handler past its price is refused or sent to its one spelling;
it is not charged, since money paid for a 404 or a redirect would be lost to the payer.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from coinslot.core.problem import CONTENT_TYPE, problem_body
from coinslot.errors import BadRequest, MethodNotAllowed
from coinslot.server.answer import Answer, refusal
from coinslot.server.price import Price, Route, Routes

# Headers by which inner layers let a client say another method than it sends.
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
# What a preflight's answer may carry: a browser's permissions, nothing that a handler made.
_PERMITS = frozenset(["allow", "vary", "date", "server"])
_ODD = re.compile(r"//|/\.|[\x00-\x1f\x7f]|\A[^/]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Charge:
    """Ask the gate under this route's price. `manages`: only about the channel that pays it, never for content."""

    price: Price
    manages: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """Not ours: let it through. `bare`: it is a question about permissions, answered without content."""

    bare: bool = False


Class: TypeAlias = Charge | Pass | Answer
PASS = Pass()
BARE = Pass(bare=True)


def classify(
    routes: Routes, method: str, path: str, query: str, overrides: Iterable[str], preflight: bool = False
) -> Class:
    """What to do with a request. `path` is decoded, as the application routes it, without its mount point."""
    method = method.upper()  # as some frameworks do
    route = routes.find(method, path)
    price = route.price if route is not None else None
    if _ODD.search(path) and _slips(routes, route, path):
        return refusal(BadRequest("write this path with single slashes and without dot segments or control characters"))
    if price is None and not any(one.price is not None and one.covers(path) for one in routes.routes):
        return PASS if route is not None else _other_spelling(routes, path, query)
    unpaid = preflight or (route is None and method == "OPTIONS")
    for wanted in overrides:
        other = routes.find(wanted.strip().upper(), path)
        if other is not None and other.price is not None and (unpaid or other is not route):
            return refusal(BadRequest("send this request with the method it means, not with an override"))
    if unpaid:
        return BARE
    if price is not None:
        return Charge(price)
    if route is not None:
        return PASS
    managed = routes.managed(method, path)
    if managed is not None:
        return Charge(managed, manages=True)
    return _not_allowed(routes, path)


def permits(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What remains of the headers of a bare answer."""
    kept = [pair for pair in headers if pair[0].lower() in _PERMITS or pair[0].lower().startswith("access-control-")]
    return [*kept, ("content-length", "0")]


def _priced(routes: Routes, path: str) -> Route | None:
    return next((one for one in routes.routes if one.price is not None and one.covers(path)), None)


def _slips(routes: Routes, route: Route | None, path: str) -> bool:
    """Whether a plainer reading of an odd path leads to a priced route, and to another one than its own."""
    plain = posixpath.normpath("/" + _CONTROLS.sub("", path).lstrip("/"))
    if path.endswith("/") and plain != "/":
        plain += "/"
    if plain == path:
        return False
    found = [_priced(routes, one) for one in (plain, plain.rstrip("/") or "/")]
    return any(one is not None and one is not route for one in found)


def _other_spelling(routes: Routes, path: str, query: str) -> Class:
    """Frameworks treat /a and /a/ alike, or redirect: go to the spelling that has a price."""
    other = path[:-1] if path.endswith("/") else path + "/"
    found = _priced(routes, other) if len(path) > 1 else None
    if found is None or (other.endswith("/") and not found.path.endswith("/")):
        return PASS
    name = quote(other.strip("/").rpartition("/")[2], safe=":@!$&'()*+,;=~", errors="surrogateescape")
    # Relative, so that it holds under any mount point and never names another host.
    location = f"./{name}/" if other.endswith("/") else f"../{name}"
    headers = (("location", f"{location}?{query}" if query else location), ("cache-control", "no-store"))
    return Answer(308, headers, b"")


def _not_allowed(routes: Routes, path: str) -> Answer:
    allowed = sorted({name for one in routes.routes if one.covers(path) for name in one.methods})
    problem = MethodNotAllowed("the table of routes prices this path for other methods and does not name this one")
    headers = (("content-type", CONTENT_TYPE), ("cache-control", "no-store"), ("allow", ", ".join(allowed)))
    return Answer(problem.status, headers, problem_body(problem))
