"""A price that is computed from a header field, by which a client asks for more once the small thing is paid for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from coinslot.errors import UsageError
from coinslot.server.admission import Admission
from coinslot.server.request import Incoming
from support.till import GET, Till, problem
from support.toybank import Bank

SMALL = replace(GET, headers={"x-size": ("small",), "x-trace": ("1",)})
LARGE = replace(GET, headers={"x-size": ("large",), "x-trace": ("2",)})

READERS: list[Callable[[Incoming], bool]] = [
    lambda request: request.one("x-size") == "large",
    lambda request: "large" in request.all("x-size"),
    lambda request: request.headers.get("x-size") == ("large",),
    lambda request: "x-size" in request.headers and request.headers["x-size"] != ("small",),
]


def till_of(bank: Bank, alice: dict[str, object], is_large: Callable[[Incoming], bool]) -> Till:
    """A till where the large one costs a hundred times as much."""
    return Till(bank, alice, price=lambda request: "1" if is_large(request) else "0.01")


@pytest.mark.guard("T03")
@pytest.mark.parametrize("is_large", READERS)
@pytest.mark.parametrize("asked", [SMALL, GET])
def test_what_a_price_was_made_of_is_bound(
    bank: Bank, alice: dict[str, object], is_large: Callable[[Incoming], bool], asked: Incoming
) -> None:
    """Present or absent, it must be the same when the payment comes; nothing is taken for another one."""
    till = till_of(bank, alice, is_large)
    credential = till.bought(asked)
    assert problem(till.answer(credential, LARGE))["slug"] == "invalid-challenge"
    assert bank.settled() == 0
    assert till.serve(credential, asked).status == 200


@pytest.mark.guard("T03")
def test_a_key_of_a_small_request_brings_no_large_one(bank: Bank, alice: dict[str, object]) -> None:
    """Nor is the small payment taken for the large request's where it was not delivered yet."""
    till = till_of(bank, alice, READERS[0])
    admission = till.admitted(till.bought(SMALL), SMALL, idempotency_key="k")
    till.gate.abandoned(admission)
    assert problem(till.answer(till.bought(LARGE), LARGE, idempotency_key="k"))["slug"] == "idempotency-key-reused"
    assert isinstance(till.present(till.bought(SMALL), SMALL, idempotency_key="k"), Admission)
    assert bank.settled() == 1


def test_what_no_price_looked_at_may_change(bank: Bank, alice: dict[str, object]) -> None:
    """Proxies number requests, and clients come again with more fields than they asked with."""
    till = till_of(bank, alice, READERS[0])
    later = {**SMALL.headers, "x-trace": ("3",), "x-more": ("4",)}
    assert till.serve(till.bought(SMALL), replace(SMALL, headers=later)).status == 200


@pytest.mark.guard("T03")
def test_a_price_looks_fields_up_by_name(bank: Bank, alice: dict[str, object]) -> None:
    """One that goes through them all could not be bound to those that are not there."""
    till = till_of(bank, alice, lambda request: any("large" in value for value in request.headers.values()))
    with pytest.raises(UsageError, match="by name"):
        till.present(None, SMALL)


def test_a_credential_is_no_part_of_its_own_price(bank: Bank, alice: dict[str, object]) -> None:
    """The field that asked without it holds it when it is paid."""
    till = till_of(bank, alice, lambda request: request.one("authorization") == "Bearer dear")
    assert till.serve(till.bought(GET), GET).status == 200
