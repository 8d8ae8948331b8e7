"""Charges between us and another implementation for Solana, whichever it is: its client and our stall, and vice versa.

pays(paykit, shop, "/split")                                      # its client, with a fresh account
with serving(paykit, svm, "PYUSD", kit_serves) as theirs:         # its server, with the usual routes
    buys(theirs, "/said")                                         # our client, with a fresh account
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from support.peers import Peer
from support.solanapeers import DOLLAR, MINTS, REALM, Stall, Theirs, paying, seed, somebody
from support.svm import SvmChain

Shares = list[dict[str, str]]
# Starts a server that sells in a currency (a mint, or a symbol) for a recipient, and gives back its address.
Serve = Callable[[Peer, SvmChain, str, str, Shares, Mapping[str, Any]], str]


def pays(peer: Peer, shop: Stall, path: str = "/paid", *, rpc: str = "rpc_url", **more: Any) -> dict[str, Any]:
    """One request by its client, with a fresh account that has SOL unless told otherwise; `rpc` is its word for it."""
    if "key" not in more:
        more["key"] = seed(shop.svm.keypair(**{shop.token: DOLLAR}))
    answer = peer.call("pay", url=shop.url + path, **{rpc: shop.svm.rpc_url}, **more)
    assert isinstance(answer, dict)
    return answer


@contextmanager
def serving(peer: Peer, svm: SvmChain, token: str, serve: Serve, **more: Any) -> Iterator[Theirs]:
    """A server of the peer: /paid and /order for a cent, /split and /said (with memos) for three.

    `more` is `serve`'s to use, but for `currency`, which replaces the token's mint.
    """
    recipient, others = somebody(svm, token), (somebody(svm, token), somebody(svm, token))
    shares = [{"recipient": others[0], "amount": "10000"}, {"recipient": others[1], "amount": "5000"}]
    url = serve(peer, svm, more.pop("currency", MINTS[token]), recipient, shares, more)
    yield Theirs(svm, peer, url, token, recipient, others)
    peer.call("close", url=url)


def with_memos(shares: Shares) -> Shares:
    """The same shares, each with a memo of its own."""
    return [{**share, "memo": f"share {number}"} for number, share in enumerate(shares)]


def kit_serves(
    peer: Peer, svm: SvmChain, currency: str, recipient: str, shares: Shares, more: Mapping[str, Any]
) -> str:
    """A server of solana-pay-kit; `more` adds to its settings."""
    routes = {
        "/paid": {"amount": "0.01"},
        "/order": {"amount": "0.01", "external_id": "order 7", "description": "one page, ünïcode"},
        "/split": {"amount": "0.03", "splits": shares},
        "/said": {"amount": "0.03", "splits": with_memos(shares), "external_id": "order 8"},
    }
    charge = {"recipient": recipient, "currency": currency, "accept_push_mode": "fee_payer" not in more, **more}
    secret = secrets.token_hex(32)
    return str(
        peer.call("serve", rpc_url=svm.rpc_url, realm=REALM, secret_key=secret, charge=charge, routes=routes)["url"]
    )


def mpp_serves(
    peer: Peer, svm: SvmChain, currency: str, recipient: str, shares: Shares, more: Mapping[str, Any]
) -> str:
    """A server of @solana/mpp; `fee_payer` pays its customers' fees."""
    sponsor = {"sponsor": more["fee_payer"]} if "fee_payer" in more else {}
    routes: dict[str, dict[str, Any]] = {
        "/paid": {"amount": "10000"},
        "/order": {"amount": "10000", "externalId": "order 7", "description": "one page, ünïcode"},
        "/split": {"amount": "30000", "settings": {"splits": shares}},
        "/said": {"amount": "30000", "settings": {"splits": with_memos(shares)}, "externalId": "order 8"},
    }
    routes = {path: {**route, "currency": currency} for path, route in routes.items()}
    charge = {"recipient": recipient, "currency": currency, "decimals": 6}
    keys = {"realm": REALM, "secretKey": secrets.token_hex(32)}
    return str(peer.call("serve", rpcUrl=svm.rpc_url, charge=charge, routes=routes, **keys, **sponsor)["url"])


def buys(theirs: Theirs, path: str, **more: Any) -> httpx.Response:
    """One request by our client, with a fresh account that has SOL."""
    payer = theirs.svm.keypair(**{theirs.token: DOLLAR})
    with paying(theirs.svm, payer, **more) as client:
        return client.get(theirs.url + path)


def shared_out(shop: Stall | Theirs, pay: Callable[[], None]) -> list[int]:
    """What the recipient and the two others get by it."""
    everybody = (shop.recipient, *shop.others)
    before = [shop.received(who) for who in everybody]
    pay()
    return [shop.received(who) - old for who, old in zip(everybody, before, strict=True)]
