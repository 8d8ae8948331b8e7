"""A channel is known by its id; what was signed for another escrow, protocol or payee buys nothing on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from coinslot.core.challenge import Challenge, parse_challenges
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld, run
from coinslot.intents.acts import Act, Held
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, pinned_escrow
from coinslot.methods.tempo.session.method import SESSIONS
from coinslot.methods.tempo.session.payer import TempoSessionPayer
from coinslot.methods.tempo.session.payload import ClosePayload, VoucherPayload
from coinslot.methods.tempo.session.record import scheme_of
from coinslot.methods.tempo.settings import Wallet
from coinslot.server.answer import Answer
from coinslot.store.memory import MemoryStore
from support.channelshop import COST, DOLLAR, Booth, account, booth, secret
from support.devnet import Chain
from support.sessiontill import HEAD, SessionTill
from support.till import problem, token_of
from support.toybank import Bank


def offers(answer: httpx.Response) -> dict[str, Challenge]:
    """The challenges of a 402 by session protocol."""
    found, _ = parse_challenges(answer.headers.get_list("www-authenticate"))
    return {one.request_object()["methodDetails"]["sessionProtocol"]: one for one in found}


def shown(challenge: Challenge, payload: Any, payer: TempoSessionPayer) -> dict[str, str]:
    """The header that presents a payload."""
    return {"Authorization": encode_credential(challenge, payload, payer.source())}


def payload_of(header: str) -> dict[str, Any]:
    """The payload of a header value."""
    return dict(token_of(header).payload_object())


@contextmanager
def opened(site: Booth) -> Iterator[tuple[httpx.Client, dict[str, Challenge], TempoSessionPayer, Held]]:
    """A client with a v2 channel at a site that takes both protocols."""
    key = account(site.chain)
    world = RealWorld()
    (payer,) = run(SESSIONS.payers(Wallet(rpc_url=site.chain.rpc_url, private_key=secret(key))), world)
    assert isinstance(payer, TempoSessionPayer)
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as client:
        asked = offers(client.get("/hello"))
        terms = payer.terms(asked["v2"])
        move = run(payer.open(asked["v2"], terms, DOLLAR, COST), world)
        assert client.head("/hello", headers=shown(asked["v2"], move.payload, payer)).status_code == 204
        yield client, asked, payer, move.held
    world.close()


@pytest.mark.guard("T03", "T07")
def test_a_voucher_of_the_other_protocol_buys_nothing_on_a_channel(devnet: Chain) -> None:
    """A v1 voucher with the id of a v2 channel is signed by the right key, and no escrow would ever pay for it."""
    with booth(devnet, session_protocols=("v2", "v1")) as site, opened(site) as (client, asked, payer, held):
        escrow = pinned_escrow(V1, devnet.chain_id)
        assert escrow is not None
        ref = ChannelRef(escrow, held.channel_id)
        forged = scheme_of(escrow).sign(payer.config.voucher_key, held.channel_id, 5 * COST)
        payload = VoucherPayload(ref, 5 * COST, forged).members()
        bought = client.get("/hello", headers=shown(asked["v1"], payload, payer))
        assert (bought.status_code, bought.text == "hello") == (402, False), (
            "goods for a voucher that nobody can settle"
        )
        closing = ClosePayload(ref, 5 * COST, forged).members()
        assert client.head("/hello", headers=shown(asked["v1"], closing, payer)).status_code == 402
        good = payer.payload(held, Act.VOUCHER, 2 * COST, payer.sign(held, 2 * COST))
        assert client.get("/hello", headers=shown(asked["v2"], good, payer)).text == "hello"


@pytest.mark.guard("T03")
def test_an_opening_presented_again_with_a_higher_voucher_pays_its_own_payee_only(
    bank: Bank, alice: dict[str, Any]
) -> None:
    """Two services share a store; where payloads carry the id alone, an opening of one's channel buys at no other."""
    store = MemoryStore()
    mine = SessionTill(bank, alice, store, flavour="v1", recipient="accomplice")
    shop = SessionTill(bank, alice, store, flavour="v1", recipient="shop")
    buyer, opening = mine.open()
    assert mine.answer(opening, HEAD).status == 204
    again = {**payload_of(opening), **payload_of(buyer.voucher(5_000)), "action": "open"}
    del again["descriptor"]
    answer = shop.present(buyer.credential(again, shop.challenge()))
    assert isinstance(answer, Answer), "goods of the shop for a voucher that its accomplice collects"
    assert (answer.status, problem(answer)["slug"]) == (402, "verification-failed")
    assert buyer.sums == (0, 0, 0)
