"""After a credential has left: waiting, lost answers, cancellation, and presenting the same payment again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from time import time

import httpx
import pytest

from coinslot.client.events import Event, Paid, Paying, Presented, Unknown
from coinslot.client.outcome import pause_after
from coinslot.client.wallet import wallet
from coinslot.errors import PaymentOutcomeUnknown, PaymentRefused, UsageError
from coinslot.transports.httpx import pay
from support.cancel import task_cancelled_at
from support.doors import Door
from support.shop import Shop, losing
from support.site import Reply, Seen, Site
from support.toybank import Bank, hash_of


@pytest.mark.guard("F03")
@pytest.mark.parametrize("drop", ["all", "body"])
def test_a_lost_answer_is_an_unknown_outcome(door: Door, shop: Shop, bank: Bank, drop: str) -> None:
    """The connection drops after the credential, or in the middle of the answer: an error with the reference."""
    with Site(losing(shop, 1, drop)) as site, pytest.raises(PaymentOutcomeUnknown) as caught:
        door.get(site.url)
    assert len(site.paid) == 1
    assert bank.look_up(str(caught.value.reference)) is not None
    assert str(caught.value.reference) in str(caught.value)
    if drop == "all":
        assert [event.reference for event in door.told(Unknown)] == [caught.value.reference]


@pytest.mark.guard("F03", "F14")
@pytest.mark.parametrize("drop", ["all", "body"])
def test_a_lost_payment_is_resumed_not_repeated(door: Door, shop: Shop, bank: Bank, drop: str) -> None:
    """`resume` presents the very same credential: the content comes, and the money has moved once."""
    with Site(losing(shop, 1, drop)) as site:
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            door.send("POST", f"{site.url}/x?q=1", content=b"body")
        got = door.send("POST", f"{site.url}/x?q=1", content=b"body", resume=caught.value.resume)
    assert got.body == b"paid for /x?q=1"
    assert isinstance(got.payment, Paid)
    assert got.payment.reference == caught.value.reference
    first, second = site.paid
    assert first.credential == second.credential
    assert second.body == b"body"
    assert len(site.seen) == 3  # the resumed one asked for no new offer
    assert bank.settled() == 1


@pytest.mark.guard("F03")
def test_an_answer_lost_after_a_redirect_is_unknown(door: Door, shop: Shop, bank: Bank) -> None:
    """Paid here, redirected there, and lost there: unknown with the reference; resumed, the redirect comes again."""

    def answer(seen: Seen) -> Reply:
        if seen.path == "/there":
            return Reply(200, b"content", drop=None if len(site.seen) > 3 else "all")
        reply = shop(seen)
        return replace(reply, status=303, headers=(("Location", "/there"),)) if seen.credential else reply

    with Site(answer) as site:
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            door.get(f"{site.url}/here")
        got = door.get(f"{site.url}/here", resume=caught.value.resume)
    assert (got.status, got.body, bank.settled()) == (200, b"content", 1)


def test_a_resumed_payment_may_be_lost_again(door: Door, shop: Shop, bank: Bank) -> None:
    """As often as it takes."""
    with Site(losing(shop, 2)) as site:
        with pytest.raises(PaymentOutcomeUnknown) as first:
            door.get(site.url)
        with pytest.raises(PaymentOutcomeUnknown) as second:
            door.get(site.url, resume=first.value.resume)
        assert door.get(site.url, resume=second.value.resume).status == 200
    assert bank.settled() == 1


@pytest.mark.guard("T46", "F03")
def test_a_resumed_payment_that_is_refused_stays_unknown(door: Door, shop: Shop, bank: Bank) -> None:
    """A 402 for what was presented before may mean that it had worked: no refusal, no second payment, no third try."""
    lost = losing(shop, 1)

    def answer(seen: Seen) -> Reply:
        return shop.ask() if len(site.paid) > 1 and seen.credential else lost(seen)

    with Site(answer) as site:
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            door.get(site.url)
        with pytest.raises(PaymentOutcomeUnknown, match="presented again") as again:
            door.get(site.url, resume=caught.value.resume)
    assert again.value.reference == caught.value.reference
    assert again.value.resume is None
    assert bank.settled() == 1


@pytest.mark.guard("T37")
def test_a_payment_is_resumed_for_its_own_request_only(door: Door, shop: Shop) -> None:
    """Another site, path, method or body gets no credential; neither does anything that is no resume."""
    with Site(losing(shop, 1)) as site, Site(shop) as other:
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            door.get(f"{site.url}/a")
        resume = caught.value.resume
        for verb, url, body in (
            ("GET", f"{other.url}/a", None),
            ("GET", f"{site.url}/b", None),
            ("DELETE", f"{site.url}/a", None),
            ("GET", f"{site.url}/a", b"x"),
        ):
            with pytest.raises(UsageError, match="another request"):
                door.send(verb, url, content=body, resume=resume)
        with pytest.raises(UsageError, match="resume is what"):
            door.get(f"{site.url}/a", resume="Payment abc")
    assert len(site.paid) == 1
    assert other.seen == []


@pytest.mark.guard("F11")
@pytest.mark.parametrize("status", [409, 503])
def test_come_back_later_is_obeyed_with_the_same_credential(door: Door, shop: Shop, bank: Bank, status: int) -> None:
    """409 or 503 with Retry-After: the same bytes again until there is an answer."""
    busy = [2]

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        if seen.credential and busy[0]:
            busy[0] -= 1
            return Reply(status, b"{}", (("Retry-After", "0"),))
        return reply

    with Site(answer) as site:
        got = door.get(site.url)
    assert got.status == 200
    assert len(site.paid) == 3
    assert len({seen.credential for seen in site.paid}) == 1
    assert [event.again for event in door.events if isinstance(event, Paying)] == [False, True, True]
    assert bank.settled() == 1


@pytest.mark.guard("F11")
def test_coming_back_ends(door: Door, shop: Shop, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is never done, or says to come back tomorrow: unknown, in bounded time."""
    monkeypatch.setattr("coinslot.client.presenting.MAX_PRESENTATIONS", 4)
    for wait, tries in (("0", 4), ("86400", 1)):
        with (
            Site(partial(_later, shop, wait=wait)) as site,
            pytest.raises(PaymentOutcomeUnknown) as caught,
        ):
            door.get(site.url)
        assert len(site.paid) == tries
        assert len({seen.credential for seen in site.paid}) == 1
        assert caught.value.resume is not None


def _later(shop: Shop, seen: Seen, wait: str) -> Reply:
    reply = shop(seen)
    return Reply(503, b"", (("Retry-After", wait),)) if seen.credential else reply


def test_a_refusal_after_come_back_later_is_unknown(door: Door, shop: Shop) -> None:
    """Busy first and a 402 then: the first may have worked, so it is no plain refusal."""

    def answer(seen: Seen) -> Reply:
        return Reply(503, b"", (("Retry-After", "0"),)) if len(site.paid) == 1 and seen.credential else shop.ask()

    with Site(answer) as site, pytest.raises(PaymentOutcomeUnknown):
        door.get(site.url)


def test_a_409_without_retry_after_is_final(door: Door, shop: Shop) -> None:
    """ "Already delivered" is not asked again; the note lets the caller look it up."""
    with Site(lambda seen: Reply(409, b"{}") if seen.credential else shop.ask()) as site:
        got = door.get(site.url)
    assert (got.status, len(site.paid)) == (409, 1)
    assert isinstance(got.payment, Presented)


def test_retry_after_is_seconds_or_a_date() -> None:
    """Both spellings, never less than a tenth of a second, junk means final."""
    now_s = float(int(time()))
    assert pause_after(503, ["7"], now_s) == 7
    assert pause_after(503, ["0"], now_s) == pytest.approx(0.1)
    assert pause_after(409, [formatdate(now_s + 9, usegmt=True)], now_s) == 9
    assert pause_after(409, [formatdate(now_s - 9, usegmt=True)], now_s) == pytest.approx(0.1)
    for status, fields in ((503, []), (503, ["soon"]), (503, ["-1"]), (200, ["1"]), (429, ["1"])):
        assert pause_after(status, fields, now_s) is None


def test_a_request_that_hangs_is_unknown_when_the_timeout_ends(
    make_door: Callable[..., Door], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's read timeout applies to free requests; a paid one waits longer, and then is unknown."""
    for module in ("coinslot.transports.httpx_wire", "coinslot.transports.requests"):
        monkeypatch.setattr(f"{module}.PAID_READ_S", 2.0)
    door = make_door(timeout_s=1.5)
    started = time()
    with Site(losing(shop, 1, "hang")) as site, pytest.raises(PaymentOutcomeUnknown, match="Timeout") as caught:
        door.get(site.url)
    assert time() - started >= 2.0
    assert caught.value.resume is not None


@pytest.mark.guard("F29")
@pytest.mark.parametrize("drop", ["hang", "slow"])
def test_a_cancelled_paid_request_is_unknown(shop: Shop, alice: dict[str, object], bank: Bank, drop: str) -> None:
    """A task cancelled while its credential is out, or while its answer streams in, ends with the reference."""
    events: list[Event] = []
    paid = threading.Event()

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        if not seen.credential:
            return reply
        paid.set()

        def slowly() -> Iterator[bytes]:
            yield b"first"
            site.released.wait(60)

        return replace(reply, drop="hang") if drop == "hang" else replace(reply, chunks=slowly())

    async def main() -> PaymentOutcomeUnknown:
        async with pay(httpx.AsyncClient(trust_env=False), wallet(toy=alice), None, events.append) as client:
            task = asyncio.create_task(client.get(site.url))
            assert await asyncio.to_thread(paid.wait, 60)
            await asyncio.sleep(0.05)  # the answer may have begun by then, or not
            task.cancel()
            with pytest.raises(PaymentOutcomeUnknown) as caught:
                await task
            site.released.set()
            return caught.value

    with Site(answer) as site:
        error = asyncio.run(main())
    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert bank.look_up(str(error.reference)) is not None
    assert error.resume is not None


@pytest.mark.guard("F29", "F14")
def test_cancelled_at_any_await_it_pays_once_and_can_be_resumed(
    shop: Shop, alice: dict[str, object], bank: Bank
) -> None:
    """For every n: cancelled at its n-th wait, a request is cancelled with nothing presented, or unknown with its
    reference; resumed, it is answered; the money has moved at most once.
    """

    async def main(step: int) -> tuple[str, int]:
        before = bank.settled()
        async with pay(httpx.AsyncClient(trust_env=False), wallet(toy=alice)) as client:
            try:
                await task_cancelled_at(step, client.get(site.url))
            except asyncio.CancelledError:
                assert site.paid == []
                return "cancelled", bank.settled() - before
            except PaymentOutcomeUnknown as error:
                resume, reference = error.resume, error.reference
            else:
                return "done", bank.settled() - before
            resumed = await client.get(site.url, extensions={"coinslot_resume": resume})
        assert (resumed.status_code, resumed.extensions["coinslot"].reference) == (200, reference)
        return "unknown", bank.settled() - before

    ends = []
    for step in range(1, 200):
        with Site(shop) as site:
            ends.append(asyncio.run(main(step)))
        if ends[-1][0] == "done":
            break
    assert {kind for kind, _ in ends} == {"cancelled", "unknown", "done"}
    assert all(moved == (0 if kind == "cancelled" else 1) for kind, moved in ends)


@pytest.mark.guard("F29")
def test_a_request_cancelled_before_paying_is_just_cancelled(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """Nothing was presented: the cancellation stays a cancellation."""

    async def main() -> None:
        async with pay(httpx.AsyncClient(trust_env=False), wallet(toy=alice)) as client:
            task = asyncio.create_task(client.get(site.url))
            await asyncio.to_thread(site.wait_for, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            site.released.set()

    with Site(lambda seen: Reply(drop="hang")) as site:
        asyncio.run(main())
    assert bank.submissions() == 0


def test_money_moved_by_the_method_and_lost_is_unknown(make_door: Callable[..., Door], shop: Shop, bank: Bank) -> None:
    """A push payment whose submission got no answer ends with its hash, and nothing is presented."""
    door = make_door(push=True)
    bank.order("lost-answer")
    with Site(shop) as site, pytest.raises(PaymentOutcomeUnknown) as caught:
        door.get(site.url)
    assert site.paid == []
    entry = bank.look_up(str(caught.value.reference))
    assert entry is not None
    assert hash_of(entry.raw) == caught.value.reference
    assert [event.reference for event in door.told(Unknown)] == [caught.value.reference]


@pytest.mark.guard("F14")
def test_an_unanswered_login_does_not_pay_twice(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """A login that sends the request again after a 401 presents the same payment, and pays no second."""

    class Login(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            response = yield request
            if response.status_code == 401:
                request.headers["X-Login"] = "yes"
                yield request

    def answer(seen: Seen) -> Reply:
        if seen.credential is None:
            return shop.ask()
        return shop(seen) if seen.headers.get("X-Login") else Reply(401, b"who are you")

    with Site(answer) as site, pay(httpx.Client(trust_env=False), wallet(toy=alice)) as client:
        assert client.get(site.url, auth=Login()).status_code == 200
        request = client.build_request("GET", site.url)
        assert [client.send(request, auth=Login()).status_code for _ in range(2)] == [200, 200]
    assert bank.settled() == 3
    assert len({seen.credential for seen in site.paid}) == 3


def test_a_refused_request_may_be_sent_again_by_its_owner(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """After a plain refusal the same request object is a new request."""
    refuse = [True]

    def answer(seen: Seen) -> Reply:
        return shop.ask() if seen.credential and refuse[0] else shop(seen)

    with Site(answer) as site, pay(httpx.Client(trust_env=False), wallet(toy=alice)) as client:
        request = client.build_request("GET", site.url)
        with pytest.raises(PaymentRefused):
            client.send(request)
        refuse[0] = False
        assert client.send(request).status_code == 200
    assert bank.settled() == 1
