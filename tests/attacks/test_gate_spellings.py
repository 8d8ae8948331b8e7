"""An API behind the gate that cares less for the spelling of a path than the gate's table does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

import httpx
import pytest

from support.toybank import Bank
from support.upstream import Call, Gated, Reply, Upstream, gate_for

SECRET = b"worth a cent"
INSIDE = b"the manager's page"
PRICES = {"GET /paid": "0.01", "GET /report/*": "0.01", "GET /v1/{model}": "0.001", "GET /Exact": "0.02"}
FREE = ["GET /free/*", "GET /exact", "GET /v1/gpt.txt", "GET /*"]


def _servlet(path: str) -> str:
    """A path as servlet containers resolve it: parameters of segments off, then dot segments."""
    found: list[str] = []
    for segment in (unquote(part.partition(";")[0]) for part in path.split("/")):
        if segment == "..":
            found[-1:] = []
        elif segment not in ("", "."):
            found.append(segment)
    return "/" + "/".join(found)


def _lenient(path: str) -> str:
    """A path as the routers of other languages match it: in any case, with a last slash, a format, or blanks."""
    return re.sub(r"\.[a-z]+\Z", "", unquote(path).strip().lower().rstrip("/ .\n"))


def _answer(call: Call) -> Reply:
    target = call.target.partition("?")[0]
    for path in (_servlet(target), _lenient(target), _lenient(_servlet(target))):
        if path == "/paid" or path.startswith(("/report/", "/v1/", "/exact")):
            return 200, {}, SECRET
        if path.startswith("/manager"):
            return 200, {}, INSIDE
    return 200, {}, b"free"


@pytest.fixture
def easy() -> Iterator[Upstream]:
    """An API that takes many spellings for one path."""
    with Upstream(answer=_answer) as running:
        yield running


@pytest.fixture
def gated(easy: Upstream, bank: Bank) -> Iterator[Gated]:
    """A gate where all that has no price is free."""
    with gate_for(easy, PRICES, bank, free=FREE) as running:
        yield running


@pytest.mark.guard("T42")
@pytest.mark.parametrize(
    "target",
    [
        "/free/..;/paid",
        "/free/..;x=1/paid",
        "/free/.;/..;/report/1",
        "/free/..%3b/paid",
        "/free/..;/manager/html",
        "/paid;",
        "/paid;jsessionid=1",
        "/report;x/1",
        "/free;/../paid",
    ],
)
def test_parameters_of_a_segment_hide_no_price(gated: Gated, target: str) -> None:
    """Servlet containers drop them before they resolve dots and look for a handler."""
    answer = httpx.get(gated.url + target)
    assert answer.status_code in {400, 402}
    assert SECRET not in answer.content
    assert INSIDE not in answer.content


@pytest.mark.guard("T42")
@pytest.mark.parametrize(
    "target",
    ["/PAID", "/Paid", "/paid/", "/paid%20", "/paid.", "/paid.json", "/paid%0a", "/Report/1", "/REPORT/x/", "/eXact"],
)
def test_another_spelling_of_a_priced_path_is_not_free(easy: Upstream, gated: Gated, target: str) -> None:
    """Where a wider route would let it through."""
    answer = httpx.get(gated.url + target)
    assert (answer.status_code, easy.calls) == (400, [])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/paid", 402),
        ("/report/A;b", 402),
        ("/v1/GPT", 402),
        ("/Exact", 402),
        ("/exact", 200),
        ("/v1/gpt.txt", 402),
        ("/free/a;b=c", 200),
        ("/Free/Paid", 200),
        ("/index.html", 200),
        ("/report", 200),
        ("/payed/", 200),
    ],
)
def test_what_the_table_names_is_what_it_costs(gated: Gated, target: str, status: int) -> None:
    """A spelling that stands in the table has the price that stands there, and others of free paths are free."""
    assert httpx.get(gated.url + target).status_code == status
