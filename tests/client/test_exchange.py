"""One request through each door against a real server: asked, paid, answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from coinslot.client.events import Declined, Offered, Paid, Paying, Presented
from coinslot.client.purse import Policy, Quote
from coinslot.client.wallet import wallet
from coinslot.core.accept import parse_accept
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, format_challenge
from coinslot.core.credential import decode_credential
from coinslot.core.digest import body_digest
from coinslot.errors import BodyNotRepeatable, NoPayableOffer, PolicyRefused, UsageError
from support.doors import Door
from support.shop import Shop
from support.site import Reply, Seen, Site
from support.toybank import Bank


def presented(site: Site) -> Challenge:
    """The challenge in the one credential that was sent."""
    (seen,) = site.paid
    assert seen.credential is not None
    return decode_credential(seen.credential.partition(" ")[2]).challenge


def always(reply: Reply) -> Callable[[Seen], Reply]:
    """A site with one answer for everybody."""
    return lambda seen: reply


def paid_with(shop: Shop, reply: Reply) -> Callable[[Seen], Reply]:
    """A shop that gives this answer to any credential."""
    return lambda seen: reply if seen.credential else shop.ask()


@pytest.mark.spec("CORE-122", "DISC-001")
def test_a_paid_resource_is_paid_for(door: Door, shop: Shop, bank: Bank) -> None:
    """A 402 is answered by exactly one credential in one field, the content comes, and the money has moved once.

    Nothing but the 402 was needed: no discovery document was asked for.
    """
    with Site(shop) as site:
        got = door.get(f"{site.url}/report?day=1")
    assert (got.status, got.body) == (200, b"paid for /report?day=1")
    assert [seen.path for seen in site.seen] == ["/report?day=1"] * 2
    assert len(site.paid[0].headers.get_all("Authorization", [])) == 1
    assert "Payment-Authorization" not in site.paid[0].headers
    assert bank.balance("shop") == 10_000
    assert isinstance(got.payment, Paid)
    assert got.payment.receipt is not None
    assert got.payment.receipt.reference == got.payment.reference
    assert got.payment.terms.amount_units == 10_000
    assert [type(event) for event in door.events] == [Offered, Paying, Paid]


@pytest.mark.spec("CORE-020", "CORE-032", "CORE-035", "CORE-069", "CORE-071")
def test_the_challenge_comes_back_as_it_came(door: Door, shop: Shop) -> None:
    """Every known parameter is echoed unchanged, `opaque` too; unknown ones disturb nobody."""

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        if reply.status == 402:
            ((name, value),) = reply.headers
            return replace(reply, headers=((name, value + ', novelty="1", x-y=z'),))
        return reply

    with Site(answer) as site:
        assert door.get(site.url).status == 200
    assert presented(site) == shop.issued[0]
    assert presented(site).opaque is not None


def test_free_answers_pass(door: Door, bank: Bank) -> None:
    """An answer that is not a 402 is the caller's, with nothing added."""
    with Site(lambda seen: Reply(404, b"nothing here")) as site:
        got = door.get(site.url)
    assert (got.status, got.body, got.payment) == (404, b"nothing here", None)
    assert door.events == []
    assert len(site.seen) == 1


@pytest.mark.spec("CORE-018")
def test_a_402_of_the_application_is_returned(door: Door, bank: Bank) -> None:
    """A 402 without a Payment challenge, or with one that can't be read, is an answer like any other."""
    broken = 'Payment id="", realm="x", method="toy", intent="charge", request="e30"'
    for headers in ((), (("WWW-Authenticate", 'Basic realm="x"'),), (("WWW-Authenticate", broken),)):
        with Site(always(Reply(402, b"pay me", headers))) as site:
            got = door.get(site.url)
        assert (got.status, got.body, len(site.seen)) == (402, b"pay me", 1)
    assert bank.submissions() == 0


def test_we_say_what_we_can_pay(door: Door) -> None:
    """The first request carries Accept-Payment, and a field of the caller's own is not touched."""
    with Site(lambda seen: Reply()) as site:
        door.get(site.url)
        door.get(site.url, headers={"Accept-Payment": "other/charge"})
    assert [seen.headers.get_all("Accept-Payment") for seen in site.seen] == [["toy/charge"], ["other/charge"]]
    assert parse_accept(site.seen[0].headers["Accept-Payment"])[0].thousandths == 1000


@pytest.mark.spec("CORE-109")
def test_a_402_that_went_through_an_intermediary(door: Door, shop: Shop) -> None:
    """Challenges merged into one field, in other case, among other schemes, with junk fields beside them, are paid."""

    def answer(seen: Seen) -> Reply:
        if seen.credential:
            return shop(seen)
        value = format_challenge(shop.challenge()).replace("Payment ", "payment   ", 1)
        merged = f'Basic realm="Payment id=\\"x\\"", {value}, Bearer realm="b"'
        return Reply(
            402, b"", (("www-authenticate", "Payment garbage!!"), ("www-authenticate", merged), ("Via", "1.1 x"))
        )

    with Site(answer) as site:
        assert door.get(site.url).status == 200


@pytest.mark.spec("CORE-073")
def test_a_challenge_of_four_kibibytes_is_paid(door: Door, shop: Shop) -> None:
    """Large challenges pass, in and back out."""
    shop.request = {"externalId": "x" * 2500}
    shop.fields = {"description": "d" * 500}
    with Site(shop) as site:
        assert door.get(site.url).status == 200
    assert len(format_challenge(shop.issued[0])) > 4096


@pytest.mark.parametrize("size", [70_000, 20_000])
def test_huge_headers_are_not_read(door: Door, bank: Bank, size: int) -> None:
    """A field beyond every limit is no challenge; the answer is the caller's (or the client library's error)."""
    field = 'Payment id="' + "x" * size + '"'
    with Site(lambda seen: Reply(402, b"", (("WWW-Authenticate", field),))) as site:
        try:
            assert door.get(site.url).status == 402
        except Exception as error:  # the library's own limit on headers
            assert type(error).__module__.split(".")[0] in ("httpx", "requests"), error  # noqa: PT017
    assert site.paid == []
    assert bank.submissions() == 0


def test_the_body_is_sent_again_byte_for_byte(door: Door, shop: Shop) -> None:
    """The paid request carries the same method, body and headers."""
    body = bytes(range(256)) * 300
    with Site(shop) as site:
        door.send("POST", site.url, content=body, headers={"X-Trace": "7", "Content-Type": "application/x-thing"})
    first, second = site.seen
    assert (first.method, first.body) == (second.method, second.body) == ("POST", body)
    changed = {"Authorization", "Accept-Payment"}
    before = {name: value for name, value in first.headers.items() if name not in changed}
    assert before == {name: value for name, value in second.headers.items() if name not in changed}


def test_a_body_that_can_be_read_once_is_not_paid_for(door: Door, shop: Shop, bank: Bank) -> None:
    """A generator can't be sent twice: a clear error, before anything is signed. A free route takes it."""

    def parts() -> object:
        yield b"one"
        yield b"two"

    async def async_parts() -> object:
        yield b"one"
        yield b"two"

    def once() -> object:
        return async_parts() if door.kind == "httpx-async" else parts()

    with Site(lambda seen: Reply(200, seen.body)) as free:
        assert door.send("POST", free.url, content=once()).body == b"onetwo"
    with Site(shop) as site, pytest.raises(BodyNotRepeatable, match="pass bytes instead"):
        door.send("POST", site.url, content=once())
    assert site.paid == []
    assert bank.submissions() == 0


@pytest.mark.spec("CORE-027")
def test_a_challenge_bound_to_our_body_is_paid_with_that_body(door: Door, shop: Shop) -> None:
    """A digest of our body, in either spelling, is fulfilled; one of another body is not paid."""
    for rfc9530 in (False, True):
        shop.fields = {"digest": body_digest(b"mine", rfc9530=rfc9530)}
        with Site(shop) as site:
            assert door.send("POST", site.url, content=b"mine").status == 200
        assert site.paid[0].body == b"mine"
    for digest in (body_digest(b"yours"), "md5=abc"):
        shop.fields = {"digest": digest}
        with Site(shop) as site, pytest.raises(NoPayableOffer, match="another body"):
            door.send("POST", site.url, content=b"mine")
        assert site.paid == []


@pytest.mark.spec("CORE-029", "CORE-058", "CORE-102")
@pytest.mark.guard("T10")
@pytest.mark.parametrize(("seconds", "reason"), [(-1, "expired"), (None, "until when"), (48 * 3600, "24 hours")])
def test_offers_out_of_time_are_not_paid(
    door: Door, shop: Shop, bank: Bank, seconds: float | None, reason: str
) -> None:
    """Expired, endless and far too long offers are dropped before anything is signed."""
    if seconds is None:
        shop.fields = {"expires": None}
    else:
        shop.valid_s = seconds
    with Site(shop) as site, pytest.raises(NoPayableOffer, match=reason):
        door.get(site.url)
    assert site.paid == []
    assert bank.submissions() == 0
    assert [type(event) for event in door.events] == [Offered, Declined]


@pytest.mark.spec("CORE-050", "CORE-121")
def test_the_first_offer_that_can_be_paid_is_paid(door: Door, shop: Shop) -> None:
    """Unknown methods and intents, and expired offers, are passed over; the error for none at all lists them."""
    good = shop.challenge()
    others = [
        replace(good, method="unheard"),
        replace(good, intent="subscription"),
        replace(good, expires="2020-01-01T00:00:00Z"),
    ]

    def answer(seen: Seen) -> Reply:
        return shop(seen) if seen.credential else shop.ask(*others, good)

    with Site(answer) as site:
        assert door.get(site.url).status == 200
    assert presented(site) == good
    with Site(lambda seen: shop.ask(*others)) as site, pytest.raises(NoPayableOffer) as caught:
        door.get(site.url)
    for part in ("unheard/charge", "toy/subscription", "toy/charge: it has expired", "Nothing was signed"):
        assert part in str(caught.value)


def test_the_alternate_header_leaves_a_login_in_place(door: Door, shop: Shop) -> None:
    """With header="Payment-Authorization" the caller's own Authorization stays beside the credential."""
    shop.fields = {"header": "Payment-Authorization"}
    with Site(shop) as site:
        assert door.get(site.url, headers={"Authorization": "Bearer abc"}).status == 200
    paid = site.paid[0]
    assert paid.headers.get_all("Authorization") == ["Bearer abc"]
    assert paid.headers["Payment-Authorization"].startswith("Payment ")
    with Site(Shop(shop.bank)) as site:  # without it the credential takes its place: there is one Authorization field
        assert door.get(site.url, headers={"Authorization": "Bearer abc"}).status == 200
    assert [field[:7] for field in site.paid[0].headers.get_all("Authorization", [])] == ["Payment"]


@pytest.mark.spec("CORE-122")
def test_a_caller_who_pays_by_hand_is_left_alone(door: Door, shop: Shop, bank: Bank) -> None:
    """A request that carries a credential already gets no second one, and its 402 is returned."""
    with Site(shop) as site:
        got = door.get(site.url, headers={"Authorization": "Payment eyJ4IjoxfQ"})
    assert (got.status, len(site.seen)) == (402, 1)
    assert bank.submissions() == 0


def test_odd_receipts_only_warn(door: Door, shop: Shop) -> None:
    """No receipt, junk and a receipt of another method: the content is here, so it is handed out with a warning."""

    def with_receipts(*values: str) -> object:
        def answer(seen: Seen) -> Reply:
            reply = shop(seen)
            return (
                reply if reply.status == 402 else replace(reply, headers=tuple(("Payment-Receipt", v) for v in values))
            )

        return answer

    for values, warning in (((), "no receipt"), (("junk",), "can't be read"), (("e30",), "can't be read")):
        with Site(with_receipts(*values)) as site:  # type: ignore[arg-type]
            got = door.get(site.url)
        assert got.status == 200
        assert isinstance(got.payment, Paid)
        assert got.payment.receipt is None
        assert warning in (got.payment.warning or "")


@pytest.mark.guard("T24")
def test_a_receipt_that_claims_more_changes_nothing(door: Door, shop: Shop) -> None:
    """What was paid, and by which reference, is what we signed; the receipt's claims stay in the receipt."""
    lie = {"status": "success", "method": "toy", "reference": "0xlie", "timestamp": "2030-01-01T00:00:00Z"}

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        claims = (("Payment-Receipt", encode_object({**lie, "amount": "999999999"})),)
        return replace(reply, headers=claims) if reply.status == 200 else reply

    with Site(answer) as site:
        got = door.get(site.url)
    assert isinstance(got.payment, Paid)
    assert got.payment.terms.amount_units == 10_000
    assert got.payment.receipt is not None
    assert (got.payment.receipt.reference, got.payment.receipt.extra["amount"]) == ("0xlie", "999999999")
    assert shop.bank.look_up(str(got.payment.reference)) is not None


def test_other_answers_to_a_credential_are_returned_with_a_note(door: Door, shop: Shop) -> None:
    """A 500 or 404 after presenting is the application's answer; the note says that something was presented."""
    for status in (500, 404, 422):
        with Site(paid_with(shop, Reply(status, b"oh"))) as site:
            got = door.get(site.url)
        assert (got.status, got.body, len(site.seen)) == (status, b"oh", 2)
        assert isinstance(got.payment, Presented)
        assert got.payment.status == status
        assert got.payment.reference


@pytest.mark.spec("CORE-113", "CORE-114", "CORE-115", "CORE-116")
def test_approval_is_asked_with_all_that_matters(make_door: Callable[..., Door], shop: Shop, bank: Bank) -> None:
    """`approve` sees the site, the terms and the words; without a yes nothing is signed."""
    quotes: list[Quote] = []
    shop.fields = {"description": "Weather"}

    def approve(quote: Quote) -> bool:
        quotes.append(quote)
        return len(quotes) > 1

    door = make_door(policy=Policy(approve=approve))
    with Site(shop) as site:
        with pytest.raises(PolicyRefused, match="not approved"):
            door.get(site.url)
        assert site.paid == []
        assert door.get(site.url).status == 200
    assert quotes[0].origin == site.url
    assert quotes[0].terms.amount_units == 10_000
    assert quotes[0].description == "Weather"


def test_approval_may_take_its_time(alice: dict[str, object], shop: Shop, bank: Bank) -> None:
    """Under an asynchronous client `approve` may be awaited; under another it is an error of the caller's."""

    async def approve(quote: Quote) -> bool:
        await asyncio.sleep(0)
        return True

    with Site(shop) as site:
        assert Door("httpx-async", wallet(toy=alice), Policy(approve=approve)).get(site.url).status == 200
        with pytest.raises(UsageError, match="asynchronous"):
            Door("httpx", wallet(toy=alice), Policy(approve=approve)).get(site.url)
    assert bank.settled() == 1


def test_an_offer_that_expires_during_approval_is_not_paid(
    make_door: Callable[..., Door], shop: Shop, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at again after the yes."""

    def approve(quote: Quote) -> bool:
        monkeypatch.setattr(time, "time", lambda: quote.expires_at_s)  # a person thinks for a while
        return True

    with Site(shop) as site, pytest.raises(NoPayableOffer, match="waited for approval"):
        make_door(policy=Policy(approve=approve)).get(site.url)
    assert site.paid == []


def test_a_push_payment_is_presented_by_its_hash(make_door: Callable[..., Door], shop: Shop, bank: Bank) -> None:
    """A method that moves the money itself goes through the same exchange."""
    with Site(shop) as site:
        got = make_door(push=True).get(site.url)
    assert got.status == 200
    assert bank.balance("shop") == 10_000
