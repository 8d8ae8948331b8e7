"""Solana charges over real HTTP: a slot behind an ASGI door, and clients that pay, in threads and in tasks."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import Wallet, wallet
from coinslot.errors import NoPayableOffer, PaymentOutcomeUnknown, PolicyRefused
from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.httpx import pay
from coinslot.transports.slot import Slot
from support.cutting_proxy import CuttingProxy
from support.serving import asgi_server, page
from support.solanashop import DOLLAR, SolanaShop, key_text

POLICY = Policy(max_per_request="0.5")


class Stand:
    """A site that sells by solana, and who pays there."""

    def __init__(self, shop: SolanaShop, **settings: Any) -> None:
        self.shop, self.recipient = shop, shop.payee()
        table = {"rpc_url": shop.chain.rpc_url, "recipient": self.recipient, "network": "localnet"} | settings
        secret = "a secret of more than thirty-two characters"
        self.slot = Slot("shop.example", store="memory:", secret_key=secret, solana=table)
        self.app = CoinslotMiddleware(page, self.slot, {"GET /paid/*": "0.25"})

    def purse(self, **settings: Any) -> Wallet:
        """Somebody who pays."""
        key = settings.pop("key", None) or self.shop.account()
        table = {"rpc_url": self.shop.chain.rpc_url, "private_key": key_text(key), "network": "localnet"}
        return wallet(solana=table | settings)

    @property
    def earned(self) -> int:
        """Base units that arrived."""
        return self.shop.held(self.recipient) - 1


@pytest.fixture(params=["own fee", "sponsored"])
def stand(solshop: SolanaShop, request: pytest.FixtureRequest) -> Stand:
    """Where the payer pays the fee, and where the site does."""
    settings = {}
    if request.param == "sponsored":
        settings["fee_payer_key"] = key_text(solshop.account(0, lamports=10**10))
    return Stand(solshop, **settings)


def test_a_client_in_a_thread_pays(stand: Stand) -> None:
    """The answer carries the receipt, and the money has moved."""
    with (
        asgi_server(stand.app, lifespan="on") as url,
        pay(httpx.Client(), stand.purse(), POLICY) as client,
    ):
        answer = client.get(f"{url}/paid/report")
        assert (answer.status_code, answer.text) == (200, "paid for")
        paid = answer.extensions["coinslot"]
        assert paid.receipt.method == "solana"
    assert stand.earned == DOLLAR // 4
    assert stand.shop.chain.rpc("getSignatureStatuses", [paid.receipt.reference])["value"][0] is not None


def test_a_client_in_a_task_pays_many_at_once(stand: Stand) -> None:
    """Each request is a payment of its own, also of one wallet at one moment."""

    async def main(url: str) -> list[httpx.Response]:
        async with pay(httpx.AsyncClient(timeout=30), stand.purse(), POLICY) as client:
            return list(await asyncio.gather(*(client.get(f"{url}/paid/{number}") for number in range(6))))

    with asgi_server(stand.app, lifespan="on") as url:
        answers = asyncio.run(main(url))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.extensions["coinslot"].receipt.reference for answer in answers}) == 6
    assert stand.earned == 6 * DOLLAR // 4


def test_a_lost_answer_is_presented_again_and_not_paid_again(solshop: SolanaShop) -> None:
    """The connection breaks after the payment was delivered: the same proof gets the stored answer and receipt."""
    stand = Stand(solshop)
    with (
        asgi_server(stand.app, lifespan="on") as url,
        closing(CuttingProxy(("127.0.0.1", urlsplit(url).port or 0))) as proxy,
        pay(httpx.Client(), stand.purse(), POLICY) as client,
    ):
        proxy.lose_answer(b"Authorization: Payment")
        page_url = f"http://127.0.0.1:{proxy.port}/paid/report"
        with pytest.raises(PaymentOutcomeUnknown) as unknown:
            client.get(page_url)
        assert unknown.value.reference
        again = client.get(page_url, extensions={"coinslot_resume": unknown.value.resume})
        assert (again.status_code, again.text) == (200, "paid for")
        assert again.extensions["coinslot"].receipt.reference == unknown.value.reference
    assert stand.earned == DOLLAR // 4


@pytest.mark.spec("SCHG-183", "SCHG-184", "SCHG-185")
def test_the_purse_says_no_before_anything_is_signed(solshop: SolanaShop) -> None:
    """More than its limit, and what it does not hold."""
    stand = Stand(solshop)
    with asgi_server(stand.app, lifespan="on") as url:
        with (
            pay(httpx.Client(), stand.purse(), Policy(max_per_request="0.1")) as client,
            pytest.raises(PolicyRefused, match=r"0\.25 USDC"),
        ):
            client.get(f"{url}/paid/report")
        poor = stand.purse(key=solshop.account(0))
        with pay(httpx.Client(), poor, POLICY) as client, pytest.raises(NoPayableOffer):
            client.get(f"{url}/paid/report")
    assert stand.earned == 0


def test_a_task_gets_what_it_paid_for_after_a_lost_answer(solshop: SolanaShop) -> None:
    """As a thread does."""
    stand = Stand(solshop)

    async def main(page_url: str) -> str:
        async with pay(httpx.AsyncClient(), stand.purse(), POLICY) as client:
            with pytest.raises(PaymentOutcomeUnknown) as unknown:
                await client.get(page_url)
            again = await client.get(page_url, extensions={"coinslot_resume": unknown.value.resume})
            assert again.extensions["coinslot"].receipt.reference == unknown.value.reference
            return again.text

    with (
        asgi_server(stand.app, lifespan="on") as url,
        closing(CuttingProxy(("127.0.0.1", urlsplit(url).port or 0))) as proxy,
    ):
        proxy.lose_answer(b"Authorization: Payment")
        assert asyncio.run(main(f"http://127.0.0.1:{proxy.port}/paid/report")) == "paid for"
    assert stand.earned == DOLLAR // 4


@pytest.mark.guard("T47")
@pytest.mark.spec("SCHG-186", "SCHG-188")
@pytest.mark.parametrize(
    ("names", "path", "paid"),
    [
        (("payee", "other"), "/shared", True),
        (("payee",), "/shared", False),
        (("other",), "/paid/report", False),
    ],
)
def test_the_purse_pays_only_those_whom_its_owner_names(
    solshop: SolanaShop, names: tuple[str, ...], path: str, paid: bool
) -> None:
    """The recipient, and every payee of a split: a share for somebody else is refused as a whole."""
    stand, other = Stand(solshop), solshop.payee()
    shared = stand.slot.price("0.25", splits={other: "0.05"})
    app = CoinslotMiddleware(page, stand.slot, {"GET /paid/*": "0.25", "GET /shared": shared})
    people = {"payee": stand.recipient, "other": other}
    policy = Policy(max_per_request="0.5", recipients={people[name] for name in names})
    refused: AbstractContextManager[Any] = nullcontext() if paid else pytest.raises(PolicyRefused, match="recipients")
    with asgi_server(app, lifespan="on") as url, pay(httpx.Client(), stand.purse(), policy) as client, refused:
        assert client.get(f"{url}{path}").text == "paid for"
    assert stand.earned == (DOLLAR // 5 if paid else 0)


@pytest.mark.spec("SCHG-180")
def test_no_credential_leaves_over_plain_http(solshop: SolanaShop) -> None:
    """Anyone between could take it."""
    stand = Stand(solshop)
    asked: list[httpx.Request] = []

    async def main() -> None:
        async def note(request: httpx.Request) -> None:
            asked.append(request)

        inner = httpx.AsyncClient(transport=httpx.ASGITransport(stand.app), event_hooks={"request": [note]})
        async with pay(inner, stand.purse(), POLICY) as client:
            try:
                await client.get("http://shop.example/paid/report")
            finally:
                await stand.slot.async_world.aclose()

    with pytest.raises(PolicyRefused, match="not encrypted"):
        asyncio.run(main())
    assert all("authorization" not in request.headers for request in asked)
    assert stand.earned == 0
