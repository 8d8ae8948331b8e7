"""What is particular to the httpx doors: existing clients, streams, bodies, timeouts."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trustme

from coinslot.client.events import Paid
from coinslot.client.purse import Purse
from coinslot.client.wallet import Wallet, wallet
from coinslot.errors import BodyNotRepeatable, PaymentOutcomeUnknown, UsageError
from coinslot.transports.httpx import AsyncPayingTransport, PayingTransport, pay
from support.shop import Shop
from support.site import Reply, Seen, Site
from support.toybank import Bank


@pytest.fixture
def purse(alice: dict[str, object]) -> Wallet:
    """Alice's wallet."""
    return wallet(toy=alice)


@pytest.fixture
def shop(bank: Bank) -> Shop:
    """Sells everything for 0.01 coin."""
    return Shop(bank)


def test_an_existing_client_keeps_its_class_and_settings(purse: Wallet, shop: Shop) -> None:
    """`pay` returns the very client, with its base URL, headers, cookies and hooks at work."""

    class Mine(httpx.Client):
        pass

    statuses: list[int] = []
    hooks = {"response": [lambda response: statuses.append(response.status_code)]}
    with Site(shop) as site:
        mine = Mine(base_url=site.url, headers={"X-Mine": "1"}, cookies={"a": "b"}, event_hooks=hooks, trust_env=False)
        with pay(mine, purse) as client:
            assert client is mine
            assert type(client) is Mine
            assert client.get("/a").text == "paid for /a"
    assert [(seen.headers["X-Mine"], seen.headers["Cookie"]) for seen in site.seen] == [("1", "a=b")] * 2
    assert statuses == [200]


def test_paying_twice_over_is_an_error(purse: Wallet) -> None:
    """A second `pay` on one client would hide the first one's policy."""
    with pay(httpx.Client(), purse) as client, pytest.raises(UsageError, match="pays already"):
        pay(client, purse)


def test_every_mount_pays(purse: Wallet, shop: Shop) -> None:
    """Proxies and other mounted transports are wrapped; a mount that switches a proxy off stays so."""
    with Site(shop) as site:
        mounts = {"all://127.0.0.1": httpx.HTTPTransport(), "all://other": None}
        with pay(httpx.Client(mounts=mounts, trust_env=False), purse) as client:
            assert client.get(site.url).status_code == 200
            assert None in client._mounts.values()


def test_transports_may_be_used_by_themselves(purse: Wallet, shop: Shop) -> None:
    """As any other httpx transport, around any other."""

    async def main(url: str) -> str:
        transport = AsyncPayingTransport(httpx.AsyncHTTPTransport(), Purse(purse))
        async with httpx.AsyncClient(transport=transport) as client:
            return (await client.get(url)).text

    with Site(shop) as site:
        with httpx.Client(transport=PayingTransport(httpx.HTTPTransport(), Purse(purse))) as client:
            assert client.get(f"{site.url}/s").text == "paid for /s"
        assert asyncio.run(main(f"{site.url}/a")) == "paid for /a"


def streaming(shop: Shop, site_of: list[Site]) -> Callable[[Seen], Reply]:
    """A paid answer whose second chunk is made when the test says so."""

    def chunks() -> Iterator[bytes]:
        yield b"one"
        assert site_of[0].released.wait(60)
        yield b"two"

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        return replace(reply, chunks=chunks()) if seen.credential else reply

    return answer


def test_paid_streams_stream(purse: Wallet, shop: Shop) -> None:
    """Chunk one is read before the server has made chunk two."""
    sites: list[Site] = []
    with Site(streaming(shop, sites)) as site, pay(httpx.Client(trust_env=False), purse) as client:
        sites.append(site)
        response = client.send(client.build_request("GET", site.url), stream=True)
        assert isinstance(response.extensions["coinslot"], Paid)
        parts = response.iter_raw()
        assert next(parts) == b"one"
        site.released.set()
        assert list(parts) == [b"two"]


def test_paid_streams_stream_under_asyncio(purse: Wallet, shop: Shop) -> None:
    """The same."""
    sites: list[Site] = []

    async def main() -> None:
        async with (
            pay(httpx.AsyncClient(trust_env=False), purse) as client,
            client.stream("GET", site.url) as response,
        ):
            parts = response.aiter_raw()
            assert await anext(parts) == b"one"
            site.released.set()
            assert [part async for part in parts] == [b"two"]

    with Site(streaming(shop, sites)) as site:
        sites.append(site)
        asyncio.run(main())


@pytest.mark.guard("F03")
def test_a_stream_that_breaks_off_names_the_payment(purse: Wallet, shop: Shop, bank: Bank) -> None:
    """Half an answer is no answer: outcome unknown, with the reference of what was paid."""

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        return replace(reply, drop="body") if seen.credential else reply

    with Site(answer) as site, pay(httpx.Client(trust_env=False), purse) as client:
        response = client.send(client.build_request("GET", site.url), stream=True)
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            response.read()
    assert bank.look_up(str(caught.value.reference)) is not None


def test_an_upload_of_files_is_sent_twice(purse: Wallet, shop: Shop) -> None:
    """A multipart body of seekable files is repeated byte for byte."""
    with Site(shop) as site, pay(httpx.Client(trust_env=False), purse) as client:
        files = {"file": ("a.txt", io.BytesIO(b"content" * 100))}
        assert client.post(site.url, files=files, data={"x": "y"}).status_code == 200
    first, second = site.seen
    assert first.body == second.body
    assert b"content" in second.body


def test_a_file_that_was_read_to_its_end_is_not_paid_for(purse: Wallet, shop: Shop, tmp_path: Path) -> None:
    """httpx would send nothing the second time: an error before anything is signed."""
    path = tmp_path / "body"
    path.write_bytes(b"x" * 100)
    with (
        Site(shop) as site,
        path.open("rb") as file,
        pay(httpx.Client(trust_env=False), purse) as client,
        pytest.raises(BodyNotRepeatable),
    ):
        client.post(site.url, content=file)
    assert site.paid == []


def test_only_paid_requests_get_more_time(purse: Wallet, shop: Shop) -> None:
    """The caller's timeouts reach the inner transport as they are; the paid retry may read for at least a minute."""
    seen: list[dict[str, float | None]] = []

    class Watching(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.extensions["timeout"])
            assert not {"coinslot_resume", "coinslot_journey"} & set(request.extensions)
            return super().handle_request(request)

    with Site(shop) as site, pay(httpx.Client(transport=Watching(), timeout=2), purse) as client:
        client.get(site.url)
        client.get(site.url, timeout=httpx.Timeout(300, connect=1))
        client.get(site.url, timeout=None)
    free, paid, long, long_paid, never, never_paid = seen
    assert free == {"connect": 2, "read": 2, "write": 2, "pool": 2}
    assert paid == {**free, "read": 60}
    assert long == long_paid == {"connect": 1, "read": 300, "write": 300, "pool": 300}
    assert never == never_paid == {"connect": None, "read": None, "write": None, "pool": None}


@pytest.mark.spec("CORE-079")
def test_https_is_paid_over_tls(purse: Wallet, shop: Shop) -> None:
    """A site with a certificate that the client trusts is paid; the credential went through TLS."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with Site(shop, tls=server) as site, pay(httpx.Client(verify=trusting, trust_env=False), purse) as client:
        assert client.get(f"{site.url}/x").text == "paid for /x"
    assert site.url.startswith("https:")
    assert len(site.paid) == 1


def test_extensions_shared_between_requests_stay_apart(purse: Wallet, shop: Shop, bank: Bank) -> None:
    """A caller's own dictionary is not written into: each request is a request of its own."""
    shared: dict[str, object] = {}
    with Site(shop) as site, pay(httpx.Client(trust_env=False), purse) as client:
        for _ in range(2):
            assert client.get(site.url, extensions=shared).status_code == 200
    assert shared == {}
    assert bank.settled() == 2


def test_connections_are_used_again(purse: Wallet, shop: Shop) -> None:
    """The 402 is read to its end, so that the paid request needs no new connection."""
    opened: list[str] = []

    def trace(name: str, info: dict[str, object]) -> None:
        if name == "connection.connect_tcp.started":
            opened.append(name)

    with Site(shop) as site, pay(httpx.Client(trust_env=False), purse) as client:
        for _ in range(3):
            client.get(site.url, extensions={"trace": trace})
    assert len(site.seen) == 6
    assert len(opened) == 1


def test_many_tasks_pay_each_for_its_own(purse: Wallet, shop: Shop, bank: Bank) -> None:
    """Twenty concurrent requests of one client: twenty payments, each answer its own."""

    async def main() -> list[str]:
        async with pay(httpx.AsyncClient(trust_env=False), purse) as client:
            answers = await asyncio.gather(*(client.get(f"{site.url}/{n}") for n in range(20)))
            return [answer.text for answer in answers]

    with Site(shop) as site:
        assert asyncio.run(main()) == [f"paid for /{n}" for n in range(20)]
    assert bank.settled() == 20
