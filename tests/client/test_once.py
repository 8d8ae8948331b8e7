"""At most one payment for one logical request, whatever the server does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from coinslot.client.events import Paid, Paying, Presented, Refused
from coinslot.core.problem import problem_body
from coinslot.errors import PaymentRefused, PolicyRefused, VerificationFailed
from support.doors import Door
from support.shop import Shop
from support.site import Reply, Seen, Site
from support.toybank import Bank

REDIRECTS = (301, 302, 303, 307, 308)


@pytest.mark.guard("T46", "F14")
def test_a_server_that_asks_for_ever_is_paid_once(door: Door, shop: Shop, bank: Bank) -> None:
    """A 402 after every credential, dearer each time: one credential, one error, no second payment."""
    asked: list[str] = []

    def answer(seen: Seen) -> Reply:
        if seen.credential:
            shop(seen)  # it takes the money, and asks again
        asked.append(shop.price)
        shop.price = f"0.{len(asked):02d}"
        return shop.ask()

    with Site(answer) as site, pytest.raises(PaymentRefused) as caught:
        door.get(site.url)
    assert len(site.paid) == 1
    assert bank.balance("shop") == 10_000
    assert caught.value.status == 402
    assert caught.value.reference is not None
    assert [type(event) for event in door.events][-1] is Refused


def test_a_refusal_says_why_in_clean_words(door: Door, shop: Shop) -> None:
    """The error carries the problem's last segment and its detail, without control characters and cut to 500."""

    def answer(seen: Seen) -> Reply:
        reply = shop.ask()
        return (
            replace(reply, body=problem_body(VerificationFailed("\x1b[31mno\u202e " + "x" * 900)))
            if seen.credential
            else reply
        )

    with Site(answer) as site, pytest.raises(PaymentRefused) as caught:
        door.get(site.url)
    assert caught.value.problem == "verification-failed"
    assert caught.value.detail.startswith("[31mno xxx")
    assert len(caught.value.detail) <= 500
    assert str(caught.value).isprintable()


def test_a_plain_402_after_paying_is_the_application_speaking(door: Door, shop: Shop) -> None:
    """Without a challenge it is no refusal: returned, with the note that something was presented."""
    with Site(lambda seen: Reply(402, b"quota") if seen.credential else shop.ask()) as site:
        got = door.get(site.url)
    assert (got.status, got.body) == (402, b"quota")
    assert isinstance(got.payment, Presented)


def redirecting(shop: Shop, status: int, target: Callable[[], str]) -> Callable[[Seen], Reply]:
    """/start leads to `target`; anything else is sold."""
    return lambda seen: Reply(status, b"", (("Location", target()),)) if seen.path == "/start" else shop(seen)


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_within_a_site_is_paid_at_its_end(door: Door, shop: Shop, bank: Bank, status: int) -> None:
    """The same origin: the final URL is paid for, once."""
    with Site(redirecting(shop, status, lambda: "/end")) as site:
        got = door.get(f"{site.url}/start")
    assert got.body == b"paid for /end"
    assert [seen.path for seen in site.paid] == ["/end"]
    assert bank.settled() == 1


@pytest.mark.guard("T37")
@pytest.mark.parametrize("status", REDIRECTS)
def test_nothing_is_paid_after_a_redirect_elsewhere(door: Door, shop: Shop, bank: Bank, status: int) -> None:
    """Another port is another origin: an error before anything is signed."""
    with Site(shop) as elsewhere, Site(redirecting(shop, status, lambda: f"{elsewhere.url}/end")) as site:
        with pytest.raises(PolicyRefused, match="redirect led from"):
            door.get(f"{site.url}/start")
        assert [seen.path for seen in elsewhere.seen] == ["/end"]
        assert elsewhere.paid == []
    assert bank.submissions() == 0


@pytest.mark.guard("T37")
def test_a_detour_through_another_site_is_not_paid(door: Door, shop: Shop, bank: Bank) -> None:
    """Here, there and back: what to buy here was chosen there, so nothing is paid."""
    with Site(lambda seen: Reply(302, b"", (("Location", f"{site.url}/dear"),))) as elsewhere:
        there = redirecting(shop, 302, lambda: f"{elsewhere.url}/")
        site = Site(there)
        with site, pytest.raises(PolicyRefused, match="redirect led from"):
            door.get(f"{site.url}/start")
        assert [seen.path for seen in site.seen] == ["/start", "/dear"]
        assert site.paid == []
    assert bank.submissions() == 0


@pytest.mark.guard("T37", "T38")
@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_after_paying_carries_nothing_and_pays_nothing(
    door: Door, shop: Shop, bank: Bank, status: int
) -> None:
    """A paid answer may redirect: the credential stays where it was presented, on the same site and elsewhere."""

    def elsewhere_url() -> str:
        return f"{elsewhere.url}/end"

    for target in (elsewhere_url, lambda: "/free"):

        def answer(seen: Seen, target: Callable[[], str] = target) -> Reply:
            if seen.path == "/free":
                return Reply(200, b"welcome")
            reply = shop(seen)
            return replace(reply, status=status, headers=(("Location", target()),)) if reply.status == 200 else reply

        with Site(lambda seen: Reply(200, b"welcome")) as elsewhere, Site(answer) as site:
            got = door.get(f"{site.url}/paid")
            hops = elsewhere.seen + [seen for seen in site.seen if seen.path == "/free"]
        assert got.body == b"welcome"
        assert isinstance(got.payment, Paid)
        assert len(hops) == 1
        assert hops[0].credential is None
        assert not any("payment" in name.lower() and name != "Accept-Payment" for name in hops[0].headers)
    assert bank.settled() == 2


@pytest.mark.guard("T46")
def test_a_redirect_after_paying_does_not_lead_to_a_second_payment(door: Door, shop: Shop, bank: Bank) -> None:
    """Paid, redirected on the same site, and asked again: an error with the reference of the one payment."""

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        return replace(reply, status=307, headers=(("Location", "/more"),)) if reply.status == 200 else reply

    with Site(answer) as site, pytest.raises(PaymentRefused, match="second payment") as caught:
        door.get(f"{site.url}/paid")
    assert len(site.paid) == 1
    assert bank.settled() == 1
    assert caught.value.reference in {event.reference for event in door.events if isinstance(event, Paying)}


def test_two_requests_are_two_payments(door: Door, shop: Shop, bank: Bank) -> None:
    """Once per logical request, not once for ever."""
    with Site(shop) as site:
        assert [door.get(site.url).status for _ in range(2)] == [200, 200]
    assert bank.settled() == 2


@pytest.mark.spec("CORE-079", "CORE-081", "CORE-082")
@pytest.mark.guard("T37")
def test_no_credential_goes_over_plain_http(make_door: Callable[..., Door], shop: Shop, bank: Bank) -> None:
    """A site that is neither https nor this machine is refused before anything is signed; here by proxy."""
    with Site(shop) as proxy:
        door = make_door(proxy=proxy.url)
        with pytest.raises(PolicyRefused, match="not encrypted"):
            door.get("http://shop.example/paid")
    assert [seen.path for seen in proxy.seen] == ["http://shop.example/paid"]
    assert proxy.paid == []
    assert bank.submissions() == 0
