"""Streams that come before they are paid: what is told, what is owed, and who may reserve and commit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.core.instant import format_instant
from coinslot.drive import run
from coinslot.errors import UsageError
from coinslot.intents.owing import LIFE_S
from coinslot.method import sells_sessions
from coinslot.server.flood import BURST
from coinslot.server.settler import Policy, settle_round
from coinslot.store.sqlite import SqliteStore
from coinslot.transports.sse import Event, Item
from support.lendingsite import CREDIT, WINDOW, Committer, LendingSite, lending, ten, told
from support.serving import TIMEOUT_S
from support.streamclient import NEED, parse_events
from support.toybank import Bank

Wallet = dict[str, Any]


@pytest.fixture
def site(bank: Bank) -> Iterator[LendingSite]:
    """Ten words for ten units; a channel may owe three hundred."""
    with lending(bank) as running:
        yield running


@pytest.fixture
def bob(bank: Bank) -> Wallet:
    """Another payer."""
    return {"bank": bank.path, "account": "bob", "secret": bank.open("bob", coin=1_000_000)}


def spent(site: LendingSite, client: Committer) -> tuple[int, int, int]:
    """accepted, spent and reserved of a channel."""
    return client.sums(site.slot)


def test_a_stream_comes_first_and_is_paid_then(site: LendingSite, alice: Wallet) -> None:
    """What it may cost, its words, what it came to, the end; a commit spends that, and a second one nothing."""
    client = Committer(alice, site.stream)
    directive, words, usage = told(client.read(1))
    assert (directive["sessionId"], directive["amount"]) == (client.held.channel_id, str(WINDOW))
    assert words == list(ten())
    assert usage == {"deliveryId": directive["deliveryId"], "amount": "10"}
    assert spent(site, client) == (1, 0, 0)
    paid = client.commit(directive["deliveryId"], 11)
    assert paid.status_code == 200, paid.text
    receipt = {"sessionId": client.held.channel_id, "deliveryId": directive["deliveryId"], "amount": "10"}
    assert paid.json() == {**receipt, "cumulative": "11", "status": "committed"}
    assert client.commit(directive["deliveryId"], 11).json()["status"] == "replayed"
    assert spent(site, client) == (11, 10, 0)


@pytest.mark.guard("T02")
def test_the_same_commit_many_times_charges_once(site: LendingSite, alice: Wallet) -> None:
    """Sixteen at once: one is new."""
    client = Committer(alice, site.stream)
    directive, _, _ = told(client.read(1))
    start = threading.Barrier(16)

    def commit(_: int) -> str:
        start.wait()
        return str(client.commit(directive["deliveryId"], 11).json()["status"])

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(commit, range(16)))
    assert sorted(answers) == ["committed", *["replayed"] * 15]
    assert spent(site, client) == (11, 10, 0)


@pytest.mark.guard("T08", "T12", "T15")
def test_both_endpoints_want_the_credential_of_the_channel(site: LendingSite, alice: Wallet, bob: Wallet) -> None:
    """None, somebody else's, one under a challenge of nobody, a voucher that somebody else signed: nothing happens."""
    client, other = Committer(alice, site.stream), Committer(bob, site.stream)
    directive, _, _ = told(client.read(1))
    delivery = directive["deliveryId"]
    other.raise_to(5)
    stranger = other.voucher(6)
    assert client.commit(delivery, 11, {}).status_code == 402
    assert client.commit(delivery, 11, stranger).status_code == 402
    assert other.commit(delivery, 11).status_code == 404  # of another channel, there is no such delivery
    mine, client.payer = client.payer, other.payer
    forged = client.voucher(9)  # for this channel, and not by who signs for it
    client.payer = mine
    assert client.reserve("10", forged).status_code == 402
    assert client.commit(delivery, 11, forged).status_code == 402
    assert client.reserve("10", {}).status_code == 402
    assert client.reserve("10", stranger).status_code == 402
    with lending(Bank(site.slot.sellers[0].bank.path)) as elsewhere:  # type: ignore[union-attr]  # of the toy
        foreign = Committer(alice, elsewhere.stream)
        foreign.held = client.held
        foreign.challenge = foreign.challenge.__class__(**{**vars_of(foreign.challenge), "id": "A" * 43})
        assert client.reserve("10", foreign.voucher(7)).status_code == 402
    assert spent(site, client) == (1, 0, 0)
    assert client.commit(delivery, 11).status_code == 200


@pytest.mark.guard("T26")
def test_a_flood_of_commits_that_pay_nothing_is_told_to_wait(site: LendingSite, alice: Wallet) -> None:
    """So many at once are answered; the delivery stays paid, once."""
    client = Committer(alice, site.stream)
    directive, _, _ = told(client.read(1))
    answers = [client.commit(directive["deliveryId"], 11).status_code for _ in range(int(BURST) + 30)]
    assert set(answers) == {200, 429}
    assert answers.index(429) > BURST
    assert spent(site, client) == (11, 10, 0)


@pytest.mark.guard("T15")
def test_a_commit_by_another_signature_is_refused(site: LendingSite, alice: Wallet, bob: Wallet) -> None:
    """Alice's delivery, presented by her, with a voucher that somebody else signed for her channel."""
    client, other = Committer(alice, site.stream), Committer(bob, site.stream)
    directive, _, _ = told(client.read(1))
    mine = client.voucher(11)
    client.payer = other.payer
    answer = client.commit(directive["deliveryId"], 11, mine)
    assert answer.status_code == 402, answer.text
    assert spent(site, client) == (1, 0, 0)


@pytest.mark.guard("T08")
def test_a_commit_for_another_channel_is_refused(site: LendingSite, alice: Wallet) -> None:
    """Of two channels of one payer: a voucher pays what its own channel owes, whoever presents it."""
    one, two = Committer(alice, site.stream), Committer(alice, site.stream)
    told(one.read(1))
    directive, _, _ = told(two.read(1))
    refused = two.commit(directive["deliveryId"], 11, one.voucher(12))
    assert (refused.status_code, "another channel" in refused.text) == (402, True)
    assert (spent(site, one), spent(site, two)) == ((1, 0, 0), (1, 0, 0))


@pytest.mark.guard("T10")
def test_a_challenge_that_is_over_reserves_nothing(site: LendingSite, alice: Wallet) -> None:
    """It still tells who pays for what came, so that a long stream can be paid."""
    client = Committer(alice, site.stream)
    directive, _, _ = told(client.read(1))
    over = replace(client.challenge, id="", expires=format_instant(time.time() - 1))
    client.challenge = site.slot.gate.issuer.keys.issue(over)
    refused = client.reserve("10", client.voucher(1))
    assert (refused.status_code, "expired" in refused.text) == (402, True)
    assert client.commit(directive["deliveryId"], 11).status_code == 200


@pytest.mark.guard("T26")
def test_the_settler_gives_back_what_nothing_became_of(tmp_path: Path, bank: Bank, alice: Wallet) -> None:
    """In each of its rounds, also for channels that never ask again."""
    ahead_s = 0.0
    store = SqliteStore(str(tmp_path / "x.db"), clock=lambda: time.time() + ahead_s)
    with lending(bank, store=store) as site:
        client = Committer(alice, site.stream)
        client.raise_to(1)
        assert client.reserve("10", client.voucher(1)).status_code == 200
        ahead_s = LIFE_S + 1
        sellers = [one for one in site.slot.sellers if sells_sessions(one)]
        run(settle_round(store, sellers, Policy()), client.world)
        assert store.expire_deliveries(10).result() == 0


@pytest.mark.guard("T25")
def test_a_handler_that_fails_half_way_is_owed_what_was_sent(site: LendingSite, alice: Wallet) -> None:
    """Three words went out before it failed."""
    site.items = lambda: ["one", "two", "three", object()]
    client = Committer(alice, site.stream)
    pieces = b""
    with client.stream(1) as answer, contextlib.suppress(httpx.HTTPError):
        for piece in answer.iter_raw():
            pieces += piece
    paid = client.commit(parse_events(pieces)[0].members["deliveryId"], 4)
    assert (paid.status_code, paid.json()["amount"]) == (200, "3")


def vars_of(challenge: Any) -> dict[str, Any]:
    """The members of a challenge."""
    return {name: getattr(challenge, name) for name in challenge.__dataclass_fields__}


@pytest.mark.guard("T05")
def test_a_voucher_that_settling_has_shown_reserves_nothing(site: LendingSite, alice: Wallet) -> None:
    """Whoever reads the chain has it, too; nor does one that is lower than what was accepted."""
    client = Committer(alice, site.stream)
    client.raise_to(20)
    client.raise_to(30)
    assert client.reserve("10", client.voucher(20)).status_code == 402
    assert client.reserve("10", client.voucher(30)).status_code == 200
    site.slot.store.note_settled(client.held.key, 30).result()
    refused = client.reserve("10", client.voucher(30))
    assert (refused.status_code, "not settled yet" in refused.text) == (402, True)
    assert client.reserve("10", client.voucher(31)).status_code == 200


@pytest.mark.guard("T26")
def test_a_flood_of_reservations_ends_at_the_credit(site: LendingSite, alice: Wallet) -> None:
    """Three hundred in all; the stream takes up what was reserved; nothing of it is a channel's money."""
    client = Committer(alice, site.stream)
    client.raise_to(1)
    answers = [client.reserve("50", client.voucher(1)).status_code for _ in range(8)]
    assert answers == [200] * 6 + [402] * 2
    assert spent(site, client) == (1, 0, 0)
    directive, words, _ = told(client.read(2))
    assert (directive["amount"], len(words)) == ("50", 10)


def test_what_is_not_paid_uses_the_credit_up_until_it_is(site: LendingSite, alice: Wallet) -> None:
    """Nothing runs for a channel that owes as much as it may; paying late gives it room again."""

    def hundred() -> Iterator[Item]:
        yield from (f"word {number}" for number in range(WINDOW + 50))

    site.items = hundred
    client = Committer(alice, site.stream, deposit=10_000)
    owed = []
    for number in range(CREDIT // WINDOW):
        directive, words, usage = told(client.read(number + 1))
        assert (len(words), usage["amount"]) == (
            WINDOW,
            str(WINDOW),
        )  # it ends where its price would pass the directive
        owed.append(directive["deliveryId"])
    refused = client.get(10)
    assert (refused.status_code, "trusted with" in refused.text, len(site.runs)) == (402, True, 3)
    assert client.commit(owed[1], 10 + WINDOW).status_code == 200
    assert told(client.read(11 + WINDOW))[2]["amount"] == str(WINDOW)


@pytest.mark.guard("T24")
def test_a_commit_pays_what_was_delivered_and_no_more(site: LendingSite, alice: Wallet) -> None:
    """Less than it came to, or more than was reserved, is refused; more than it came to stays the payer's."""
    client = Committer(alice, site.stream)
    directive, _, _ = told(client.read(1))
    assert client.commit(directive["deliveryId"], 9).status_code == 402
    assert client.commit(directive["deliveryId"], 2 + WINDOW).status_code == 402
    assert spent(site, client) == (1, 0, 0)
    assert client.commit(directive["deliveryId"], 1 + WINDOW).json()["amount"] == "10"
    assert spent(site, client) == (1 + WINDOW, 10, 0)


@pytest.mark.guard("T25")
def test_who_hangs_up_owes_what_was_sent(site: LendingSite, alice: Wallet) -> None:
    """Twelve words went out before the client left; they are owed, and paid late."""
    left, sent = threading.Event(), threading.Event()

    async def endless() -> AsyncIterator[Item]:
        for number in range(12):
            yield f"word {number}"
        sent.set()
        for _ in range(int(TIMEOUT_S * 100)):
            await asyncio.sleep(0.01)
        yield "never"

    site.items = endless
    client = Committer(alice, site.stream)
    with client.stream(1) as answer:
        first = next(answer.iter_raw())
        assert sent.wait(TIMEOUT_S)
    left.set()
    delivery = parse_events(first)[0].members["deliveryId"]
    for _ in range(500):
        paid = client.commit(delivery, 1 + WINDOW)
        if paid.status_code != 409:
            break
        left.wait(0.01)
    assert (paid.status_code, paid.json()["amount"]) == (200, "12")


def test_a_handler_that_fails_at_once_is_owed_nothing(site: LendingSite, alice: Wallet) -> None:
    """No word was sent, so all of the credit is there."""
    client = Committer(alice, site.stream)
    told(client.read(1))
    site.items = lambda: [object()]
    with client.stream(2) as answer, pytest.raises(httpx.HTTPError):
        answer.read()
    assert client.reserve(str(CREDIT - 10), client.voucher(2)).status_code == 200


@pytest.mark.guard("T41")
def test_a_garbled_commit_is_a_bad_request(site: LendingSite, alice: Wallet) -> None:
    """Of no delivery, with no voucher, not JSON, or too long."""
    client = Committer(alice, site.stream)
    client.raise_to(1)
    url, headers = f"{client.site}/__402/session/commit", client.voucher(1)
    for body, status in (
        (b"{}", 400),
        (b"[]", 400),
        (b'{"deliveryId": 7}', 400),
        (b'{"deliveryId": "x"}', 402),
        (b'{"deliveryId": "x", "deliveryId": "y"}', 400),
        (b"x" * 20_000, 413),
    ):
        assert client.http.post(url, content=body, headers=headers).status_code == status, body
    assert client.http.get(url).status_code == 404


def test_nothing_is_lent_unless_it_is_switched_on(bank: Bank, alice: Wallet) -> None:
    """By default a stream asks for vouchers before it delivers, and the endpoints are the application's."""
    with lending(bank, credit_units=0) as site:
        client = Committer(alice, site.stream)
        answer = client.http.post(f"{client.site}/__402/session/commit", json={}, headers=client.voucher(1))
        assert (answer.status_code, answer.text) == (404, "the application's own")
        with client.stream(1) as stream:
            names = [one.name for one in parse_events(next(stream.iter_raw()))]
        assert "mpp.metering" not in names
        assert NEED in names or names == ["message"]


@pytest.mark.guard("T25")
@pytest.mark.parametrize("name", ["mpp.metering", "mpp.usage", " MPP.usage"])
def test_an_application_can_not_speak_for_us(name: str) -> None:
    """Events of these names are refused."""
    with pytest.raises(UsageError, match="belong to payments"):
        Event("{}", event=name)


@pytest.mark.guard("T25")
def test_the_last_word_is_ours(site: LendingSite, alice: Wallet) -> None:
    """An application that ends its stream as others do does not hide what it came to."""
    site.items = lambda: ["one", "[DONE]", "two"]
    _, words, usage = told(Committer(alice, site.stream).read(1))
    assert (words, usage["amount"]) == (["one"], "1")
