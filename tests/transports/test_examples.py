"""The examples sell what they promise, for real tokens on a local chain."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.transports.httpx import pay, session
from support.devnet import Chain
from support.serving import TIMEOUT_S, asgi_server, wsgi_server

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def load(name: str, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An example's names, on this chain; the second account sells."""
    monkeypatch.setenv("RPC_URL", chain.rpc_url)
    monkeypatch.setenv("RECIPIENT", chain.accounts[1].address)
    monkeypatch.setenv("STORE", "memory:")
    monkeypatch.setenv("PAUSE_S", "0")
    return runpy.run_path(str(EXAMPLES / name))


def buyer(chain: Chain) -> httpx.Client:
    """The first account buys."""
    purse = wallet(tempo={"private_key": chain.accounts[0].private_key, "rpc_url": chain.rpc_url})
    return pay(httpx.Client(timeout=TIMEOUT_S, trust_env=False), purse, Policy())


@pytest.mark.devnet
def test_a_longer_stream_costs_more(devnet: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three numbers, three cents; what is no number is refused before anybody is asked to pay."""
    example = load("stream.py", devnet, monkeypatch)
    before = devnet.balance_of("PathUSD", devnet.accounts[1].address)
    with asgi_server(example["app"], lifespan="on") as url, buyer(devnet) as client:
        assert client.get(f"{url}/countdown?from_=many").status_code == 422
        assert client.get(f"{url}/countdown?from_=3").text == "3\n2\n1\n"
    assert devnet.balance_of("PathUSD", devnet.accounts[1].address) - before == 30_000
    example["slot"].close()


@pytest.mark.devnet
def test_members_sign_in_and_pay(devnet: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one request; strangers are not asked for money."""
    example = load("members.py", devnet, monkeypatch)
    with wsgi_server(example["app"]) as url, buyer(devnet) as client:
        stranger = client.get(f"{url}/report")
        member = client.get(f"{url}/report", headers={"Authorization": "Bearer ann"})
    assert (stranger.status_code, "www-authenticate" in stranger.headers) == (401, False)
    assert member.status_code == 200
    assert member.text.startswith("a report for ann, paid by 0x")
    example["slot"].close()


@pytest.mark.devnet
def test_a_model_is_paid_by_the_token(devnet: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four words, four tokens, from a channel that is closed with the rest going back."""
    monkeypatch.setenv("SESSION_KEY", devnet.accounts[1].private_key)
    example = load("tokens.py", devnet, monkeypatch)
    purse = wallet(tempo={"private_key": devnet.accounts[0].private_key, "rpc_url": devnet.rpc_url})
    with (
        asgi_server(example["app"], lifespan="on") as url,
        pay(httpx.Client(timeout=TIMEOUT_S, trust_env=False), purse, book="memory:") as client,
        session(client, f"{url}/chat", max_deposit="1", close=True) as paid,
    ):
        answer = paid.post(content=b"you pay me nothing")
        assert answer.text == "data: nothing\n\ndata: me\n\ndata: pay\n\ndata: you\n\n"
        assert paid.spent_units == 400
    example["slot"].close()
