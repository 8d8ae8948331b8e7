"""What every server door must do, told once. A test file gives a fixture `site` and subclasses DoorCases.

`site(slot, house)` serves these paths, each for 0.01 but /free, over a real server, and yields its URL:

    /paid /boom /teapot /wait /receipt   house.reply(name, receipt)       GET (and HEAD)
    /echo                                the request's body               POST
    /stream                              house.handshake.chunks()         GET
    /endless                             house.endless()                  GET
    /free                                b"free"                          GET
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx
import pytest

from coinslot.core.credential import decode_credential
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.server.request import MAX_BOUND_BODY
from coinslot.store.protocol import Lease
from coinslot.transports.slot import Slot
from support.serving import TIMEOUT_S, Handshake, Payer, make_slot
from support.toybank import Bank


@dataclass
class House:
    """What the handlers do, whatever the framework. `calls` are the names of handlers that ran."""

    calls: list[str] = field(default_factory=list)
    handshake: Handshake = field(default_factory=Handshake)
    waiting: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def reply(self, name: str, receipt: Receipt | None = None) -> tuple[int, bytes]:
        """Status and body; /boom raises and /teapot refuses the first time."""
        self.calls.append(name)
        first = self.calls.count(name) == 1
        if name == "boom" and first:
            raise RuntimeError("the handler failed")
        if name == "wait" and first:
            self.waiting.set()
            assert self.go_on.wait(TIMEOUT_S)
        if name == "receipt":
            return 200, receipt.reference.encode() if receipt else b"none"
        return (418, b"short and stout") if name == "teapot" and first else (200, name.encode())

    def endless(self) -> Iterator[bytes]:
        """A stream that ends when its client hangs up."""
        self.calls.append("endless")
        if self.calls.count("endless") > 1:  # nobody should hear this
            yield b"again"
            return
        while True:
            yield b"x" * 65536


Site: TypeAlias = Callable[[Slot, House], AbstractContextManager[str]]
GET_PATHS = ("paid", "boom", "teapot", "wait", "receipt")
EXPOSED = {"www-authenticate", "payment-receipt", "retry-after"}


def exposed(answer: httpx.Response) -> set[str]:
    """What a page of another origin may read."""
    value = ", ".join(answer.headers.get_list("access-control-expose-headers"))
    return {name.strip().lower() for name in value.split(",")}


def present(payer: Payer, url: str, authorization: str) -> httpx.Response:
    """Present until nobody else is at it."""
    pause = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.02)):
        answer = payer.client.get(url, headers={"Authorization": authorization})
        if answer.status_code != 409 or not answer.json()["type"].endswith("/payment-in-flight"):
            return answer
        pause.wait(0.02)
    raise AssertionError("in flight for ever")


@pytest.fixture
def slot(bank: Bank) -> Generator[Slot]:
    """A slot that is paid by the toy method, in memory."""
    made = make_slot(bank)
    yield made
    made.close()


@pytest.fixture
def payer(alice: dict[str, object]) -> Generator[Payer]:
    """Alice."""
    made = Payer(alice)
    yield made
    made.client.close()


@pytest.fixture
def house() -> House:
    """Handlers that nobody called yet."""
    return House()


@pytest.fixture
def url(site: Site, slot: Slot, house: House) -> Iterator[str]:
    """The address of the served door."""
    with site(slot, house) as at:
        yield at


class DoorCases:
    """The cases."""

    @pytest.mark.spec("CORE-002", "CORE-003", "CORE-004", "CORE-005", "CORE-012", "CORE-047", "CORE-059", "CORE-060")
    @pytest.mark.spec("CORE-111")
    def test_an_unpaid_request_gets_a_real_402(self, url: str, house: House, payer: Payer) -> None:
        """With a challenge that can be paid, for no cache, readable to browsers, without a receipt; no handler ran."""
        answer = payer.client.get(f"{url}/paid")
        assert answer.status_code == 402
        assert len(payer.offers(answer)) == 1
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"].endswith("/payment-required")
        assert "payment-receipt" not in answer.headers
        assert exposed(answer) >= EXPOSED
        assert house.calls == []

    @pytest.mark.spec("CORE-045", "CORE-046", "CORE-112")
    def test_a_paid_request_is_served_once_with_a_receipt(self, url: str, house: House, payer: Payer) -> None:
        """The handler runs once; the answer is private; the same credential brings the same answer again."""
        authorization = payer.credential(payer.client.get(f"{url}/paid"))
        first, again = (payer.client.get(f"{url}/paid", headers={"Authorization": authorization}) for _ in range(2))
        assert (first.status_code, first.content) == (200, b"paid")
        assert decode_receipt(first.headers["payment-receipt"]).method == "toy"
        assert "private" in first.headers["cache-control"]
        assert "authorization" in first.headers["vary"].lower()
        assert exposed(first) >= EXPOSED
        assert (again.status_code, again.content) == (200, b"paid")
        assert again.headers["payment-receipt"] == first.headers["payment-receipt"]
        assert house.calls == ["paid"]

    def test_the_handler_can_read_its_receipt(self, url: str, payer: Payer) -> None:
        """It is where the framework keeps what belongs to a request."""
        answer = payer.get(f"{url}/receipt")
        assert answer.text == decode_receipt(answer.headers["payment-receipt"]).reference

    def test_a_free_path_costs_nothing(self, url: str, payer: Payer) -> None:
        """And carries nothing of ours."""
        answer = payer.client.get(f"{url}/free")
        assert (answer.status_code, answer.content) == (200, b"free")
        assert "payment-receipt" not in answer.headers

    @pytest.mark.spec("CORE-047")
    @pytest.mark.parametrize(("path", "status"), [("boom", 500), ("teapot", 418)])
    def test_a_failed_handler_gives_the_payment_back(
        self, url: str, house: House, payer: Payer, path: str, status: int
    ) -> None:
        """No receipt with the failure; the same credential works again, and then only once."""
        authorization = payer.credential(payer.client.get(f"{url}/{path}"))
        failed = payer.client.get(f"{url}/{path}", headers={"Authorization": authorization})
        assert failed.status_code == status
        assert "payment-receipt" not in failed.headers
        answers = [payer.client.get(f"{url}/{path}", headers={"Authorization": authorization}) for _ in range(2)]
        assert [(one.status_code, one.content) for one in answers] == [(200, path.encode())] * 2
        assert house.calls == [path, path]

    def test_a_stream_streams(self, url: str, house: House, payer: Payer) -> None:
        """The first chunk is read before the handler has made the second."""
        house.handshake.check(payer, f"{url}/stream")

    def test_who_hangs_up_on_a_stream_had_the_delivery(self, url: str, house: House, payer: Payer) -> None:
        """Or hanging up would be a free pass: the credential is used, and the handler does not run again. T25"""
        authorization = payer.credential(payer.client.get(f"{url}/endless"))
        with payer.client.stream("GET", f"{url}/endless", headers={"Authorization": authorization}) as answer:
            assert answer.headers["payment-receipt"]
            next(answer.iter_raw())
        again = present(payer, f"{url}/endless", authorization)
        assert again.status_code == 409
        assert again.json()["type"].endswith("/already-delivered")
        assert house.calls == ["endless"]

    def test_a_lost_lease_delivers_nothing(self, url: str, slot: Slot, house: House, payer: Payer) -> None:
        """What can't be recorded is not handed out; the same credential brings it when the lease is free again."""
        authorization = payer.credential(payer.client.get(f"{url}/wait"))
        used = decode_credential(authorization.removeprefix("Payment ")).challenge.id
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(payer.client.get, f"{url}/wait", headers={"Authorization": authorization})
            assert house.waiting.wait(TIMEOUT_S)
            slot.store.release(Lease(used, 1)).result(TIMEOUT_S)
            stolen = slot.store.take(used).result(TIMEOUT_S)
            assert stolen is not None
            house.go_on.set()
            lost = asked.result(TIMEOUT_S)
        assert lost.status_code == 503
        assert lost.headers["retry-after"]
        assert "payment-receipt" not in lost.headers
        slot.store.release(stolen).result(TIMEOUT_S)
        again = present(payer, f"{url}/wait", authorization)
        assert (again.status_code, again.content) == (200, b"wait")

    @pytest.mark.spec("CORE-026", "CORE-039", "CORE-040", "CORE-041", "CORE-042", "CORE-043", "CORE-048")
    def test_a_body_is_bound_and_still_readable(self, url: str, payer: Payer) -> None:
        """The handler reads what was paid for; another body under the same credential is refused."""
        asked = payer.client.post(f"{url}/echo", content=b"hello")
        authorization = payer.credential(asked)
        swapped = payer.client.post(f"{url}/echo", content=b"jello", headers={"Authorization": authorization})
        assert swapped.status_code == 402
        assert payer.offers(asked)[0].digest
        assert payer.offers(swapped)[0].id != payer.offers(asked)[0].id
        paid = payer.client.post(f"{url}/echo", content=b"hello", headers={"Authorization": authorization})
        assert (paid.status_code, paid.content) == (200, b"hello")

    def test_a_body_too_large_to_bind_is_refused(self, url: str, payer: Payer) -> None:
        """With 413, and nobody is asked to pay."""
        answer = payer.client.post(f"{url}/echo", content=b"x" * (MAX_BOUND_BODY + 1))
        assert answer.status_code == 413
        assert "www-authenticate" not in answer.headers

    def test_head_follows_get(self, url: str, payer: Payer) -> None:
        """A priced HEAD is asked for its price, and paid it has headers and no body."""
        asked = payer.client.head(f"{url}/paid")
        assert asked.status_code == 402
        assert asked.content == b""
        paid = payer.send("HEAD", f"{url}/paid")
        assert paid.status_code == 200
        assert paid.content == b""
        assert paid.headers["payment-receipt"]

    def test_bearer_and_payment_travel_in_one_request(self, site: Site, bank: Bank, house: House, payer: Payer) -> None:
        """With the alternate header, Authorization stays free for who the client is."""
        slot = make_slot(bank, alternate_header=True)
        with site(slot, house) as url:
            headers = {"Authorization": "Bearer token"}
            asked = payer.client.get(f"{url}/paid", headers=headers)
            assert payer.offers(asked)[0].header == "Payment-Authorization"
            paid = payer.get(f"{url}/paid", headers=headers)
            assert (paid.status_code, paid.content) == (200, b"paid")
            in_the_wrong_place = payer.credential(asked)
            refused = payer.client.get(f"{url}/paid", headers={"Authorization": in_the_wrong_place})
            assert refused.status_code == 402
        slot.close()

    def test_nothing_secret_is_logged(
        self, url: str, payer: Payer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Not on success, not when the handler fails, at no level."""
        caplog.set_level("DEBUG")
        tokens = []
        for path in ("paid", "boom", "teapot"):
            authorization = payer.credential(payer.client.get(f"{url}/{path}"))
            tokens.append(authorization.removeprefix("Payment "))
            tokens.append(json.loads(decode_credential(tokens[-1]).payload)["signature"])
            payer.client.get(f"{url}/{path}", headers={"Authorization": authorization})
        written = capfd.readouterr()
        said = caplog.text + written.out + written.err
        assert [one for one in tokens if one in said] == []
