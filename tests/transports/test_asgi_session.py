"""Sessions over real HTTP: the ASGI door on uvicorn, and a client that signs by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from coinslot.core.challenge import Challenge, parse_challenges
from coinslot.core.credential import encode_credential
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.drive import RealWorld, run
from coinslot.intents import acts
from coinslot.intents.acts import Act
from coinslot.intents.session import INTENT, Channel, Stage
from coinslot.transports.asgi import CoinslotMiddleware, Receive, Scope, Send
from coinslot.transports.slot import Slot
from support.serving import asgi_server, make_slot
from support.sessiondesk import session_payer
from support.toybank import Bank

COST = 1_000
DEPOSIT = 10_000
FUNDS = 5_000_000
COPIES = 40


class House:
    """The application: it counts its runs. /paid/broken answers 500."""

    def __init__(self) -> None:
        self.runs = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the channel that paid."""
        assert scope["type"] == "http"
        while (await receive()).get("more_body"):
            pass
        self.runs += 1
        receipt: Receipt = scope["coinslot.receipt"]
        status, content = (500 if scope["path"].endswith("broken") else 200), receipt.reference.encode()
        headers = [(b"content-length", str(len(content)).encode()), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class Client:
    """Opens one channel and signs what a test wants."""

    def __init__(self, url: str, wallet: Mapping[str, Any], slot: Slot) -> None:
        self.url, self._slot = url, slot
        self.payer = session_payer(wallet)
        self.world = RealWorld()
        self.http = httpx.Client(trust_env=False, timeout=20)
        self.challenge = self.offer(self.http.head(url))
        move = run(self.payer.open(self.challenge, self.payer.terms(self.challenge), DEPOSIT, 0), self.world)
        self.held, self.opening = move.held, self.credential(move.payload)

    def offer(self, answer: httpx.Response) -> Challenge:
        """The offer of a session in a 402."""
        assert answer.status_code == 402, answer
        good, bad = parse_challenges(answer.headers.get_list("www-authenticate"))
        assert not bad
        return next(one for one in good if one.intent == INTENT)

    def credential(self, payload: Mapping[str, Any]) -> str:
        """A header value."""
        return encode_credential(self.challenge, payload, self.payer.source())

    def signed(self, total: int, act: Act = Act.VOUCHER) -> str:
        """A voucher, or a request to close with one."""
        raw = self.payer.sign(replace(self.held, deposit_units=max(total, DEPOSIT)), total)
        return self.credential(self.payer.payload(self.held, act, total, raw))

    def send(self, credential: str, verb: str = "GET", url: str = "", **headers: str) -> httpx.Response:
        """One request with a credential."""
        headers = {"Authorization": credential, **{name.replace("_", "-"): one for name, one in headers.items()}}
        return self.http.request(verb, url or self.url, headers=headers)

    @property
    def record(self) -> Channel:
        """The channel as the server has it."""
        found = self._slot.store.find_channel(self.held.key).result()
        assert found is not None
        return found


@pytest.fixture
def house() -> House:
    """The application."""
    return House()


@pytest.fixture
def client(bank: Bank, alice: dict[str, Any], house: House) -> Iterator[Client]:
    """A client whose channel is open at a running server."""
    slot = make_slot(bank, toy={"bank": bank.path, "recipient": "shop", "sessions": True})
    with asgi_server(CoinslotMiddleware(house, slot, {"GET /paid/*": "0.001"})) as url:
        made = Client(url + "/paid/words", alice, slot)
        opened = made.send(made.opening, "HEAD")
        assert (opened.status_code, opened.content) == (204, b"")
        yield made
        made.http.close()
    slot.close()


def receipt_of(answer: httpx.Response) -> Receipt:
    """Its receipt, which must be there."""
    return decode_receipt(answer.headers["payment-receipt"])


@pytest.mark.spec("TSES-054", "TSES-067", "TSES-154", "TSES-192")
def test_a_whole_session_over_http(client: Client, house: House, bank: Bank) -> None:
    """HEAD for the challenge, open, three vouchers, top-up, close: the shop has what was bought, alice the rest."""
    for n in range(1, 4):
        answer = client.send(client.signed(n * COST))
        assert (answer.status_code, answer.text) == (200, client.held.channel_id)
        assert receipt_of(answer).extra["spent"] == str(n * COST)
        assert answer.headers["payment-session"] == client.held.channel_id
        assert "private" in answer.headers["cache-control"]
    move: acts.Move = run(client.payer.top_up(client.challenge, client.held, COST), client.world)
    raised = client.send(client.credential(move.payload))
    assert (raised.status_code, raised.content, client.record.deposit) == (204, b"", DEPOSIT + COST)
    closed = client.send(client.signed(3 * COST, Act.CLOSE))
    assert (closed.status_code, closed.content) == (204, b"")
    assert receipt_of(closed).extra["txHash"]
    assert (bank.balance("shop"), bank.balance("alice")) == (3 * COST, FUNDS - 3 * COST)
    gone = client.send(client.signed(4 * COST))
    assert (gone.status_code, gone.headers["content-type"]) == (410, "application/problem+json")
    assert "payment-receipt" not in gone.headers
    assert house.runs == 3


@pytest.mark.guard("T02", "F15")
@pytest.mark.spec("TSES-004", "TSES-142")
def test_one_voucher_many_times_at_once_over_http(client: Client, house: House) -> None:
    """Many connections, one voucher: one run; every answer is a 200 with a receipt."""
    credential = client.signed(COST)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.send(credential), range(COPIES)))
    assert {one.status_code for one in answers} == {200}
    assert sum(bool(one.content) for one in answers) == house.runs == 1
    assert {receipt_of(one).extra["spent"] for one in answers} == {str(COST)}


@pytest.mark.guard("F14")
@pytest.mark.spec("TSES-162", "TSES-163")
def test_a_lost_answer_is_fetched_by_its_key(client: Client, house: House) -> None:
    """The same request with the same Idempotency-Key: the same answer, and no charge."""
    one = client.send(client.signed(COST), idempotency_key="k")
    two = client.send(client.signed(COST), idempotency_key="k")
    assert (two.status_code, two.content, two.headers["content-type"]) == (200, one.content, "text/plain")
    assert two.headers["idempotent-replayed"] == "true"
    assert (house.runs, client.record.spent) == (1, COST)


@pytest.mark.spec("TSES-137", "TSES-138", "TSES-226")
def test_a_refusal_is_a_problem_with_a_fresh_challenge(client: Client, house: House) -> None:
    """402, how to go on in headers, no receipt; on HEAD the same without a body."""
    for verb in ("GET", "HEAD"):
        answer = client.send(client.signed(DEPOSIT + 1), verb)
        assert (answer.status_code, "payment-receipt" in answer.headers) == (402, False)
        assert client.offer(answer).request_object()["methodDetails"]["channelId"] == client.held.channel_id
        assert bool(answer.content) == (verb == "GET")
    exposed = answer.headers["access-control-expose-headers"]
    assert "Payment-Session-Snapshot" in exposed
    assert house.runs == 0


@pytest.mark.guard("T42", "T03")
def test_other_methods_and_paths_buy_nothing(client: Client, house: House) -> None:
    """A voucher under a method that the route doesn't sell is kept; one of another path is refused."""
    kept = client.send(client.signed(COST), "POST")
    assert (kept.status_code, kept.content, client.record.accepted) == (204, b"", COST)
    other = client.send(client.signed(2 * COST), url=client.url.replace("words", "books"))
    assert (other.status_code, client.record.accepted, client.record.spent) == (402, COST, 0)
    assert client.http.post(client.url).status_code == 405
    assert house.runs == 0


def test_a_handler_that_fails_leaves_no_receipt(client: Client, house: House) -> None:
    """500: what was spent is on record, the answer says nothing of it, and the session goes on."""
    url = client.url.replace("words", "broken")
    client.challenge = client.offer(client.http.head(url))
    answer = client.send(client.signed(COST), url=url)
    assert (answer.status_code, "payment-receipt" in answer.headers) == (500, False)
    assert client.send(client.signed(2 * COST), url=url).status_code == 500
    assert (house.runs, client.record.stage) == (2, Stage.OPEN)


def test_charges_and_sessions_are_offered_side_by_side(client: Client) -> None:
    """A client takes what it can pay."""
    good, _ = parse_challenges(client.http.get(client.url).headers.get_list("www-authenticate"))
    assert sorted(one.intent for one in good) == ["charge", INTENT]
