"""A hash shows nothing by itself: what it names must be this payer's payment for this very challenge."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import httpx
import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import Challenge
from coinslot.drive import RealWorld
from coinslot.errors import PaymentInsufficient, RpcUnreachable, VerificationFailed
from coinslot.intents.charge import Settled
from coinslot.method import Extras
from coinslot.methods.tempo.charge_seller import TempoChargeSeller
from coinslot.methods.tempo.memo import attribution_memo
from coinslot.methods.tempo.tip20 import transfer_call
from coinslot.methods.tempo.transaction.fields import Call
from support.rpcfault import FaultyNode, answer
from support.temposhop import PATH, Shop, fresh_address, payload, signed

PRICE = 250_000


class HastyWorld(RealWorld):
    """A world in which waiting takes no time: the clock moves instead."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(client)
        self.ahead_s = 0.0

    def sleep(self, seconds: float) -> None:
        """Let the clock move."""
        self.ahead_s += seconds

    def now(self) -> float:
        """The moved clock."""
        return super().now() + self.ahead_s


def sent(shop: Shop, seller: TempoChargeSeller, key: PrivateKey, *calls: Call) -> str:
    """The hash of a mined transaction with these calls."""
    tx = shop.transaction(shop.payer(key), shop.challenge(seller))
    receipt = shop.chain.rpc("eth_sendRawTransactionSync", payload(signed(tx, key, calls=calls))["signature"])
    assert isinstance(receipt, dict)
    return str(receipt["transactionHash"])


def bound(challenge: Challenge) -> bytes:
    """The memo of a challenge."""
    return attribution_memo(challenge.realm, challenge.id)


@pytest.mark.guard("T05")
def test_a_stranger_can_not_redeem_what_it_saw_on_the_chain(shop: Shop) -> None:
    """Another challenge of the same price needs another memo; the payer's own challenge is good for the payer."""
    seller, payer = shop.seller(), shop.payer(mode="push")
    challenge, strangers = shop.challenge(seller), shop.challenge(seller)
    shown = shop.pay(payer, challenge)
    with pytest.raises(VerificationFailed, match="names another challenge"):
        shop.check(seller, strangers, shown.payload)
    elsewhere = replace(challenge, realm="other.example")
    with pytest.raises(VerificationFailed, match="names another server"):
        shop.check(seller, elsewhere, shown.payload)
    assert isinstance(shop.through(seller, challenge, shown), Settled)


@pytest.mark.guard("T05")
def test_a_payment_by_another_account_than_the_source_is_refused(shop: Shop) -> None:
    """Who presents a hash and names itself must be who paid."""
    seller, payer = shop.seller(), shop.payer(mode="push")
    challenge = shop.challenge(seller)
    shown = shop.pay(payer, challenge)
    with pytest.raises(VerificationFailed, match="source"):
        shop.check(seller, challenge, shown.payload, f"did:pkh:eip155:42431:{fresh_address()}")


@pytest.mark.guard("T05")
@pytest.mark.parametrize("option", [False, True])
def test_a_plain_transfer_is_never_taken_as_a_push(shop: Shop, *, option: bool) -> None:
    """Not even where plain transfers are pulled: everybody could claim it, and it may be older than the challenge."""
    key = shop.account()
    seller = shop.seller(allow_plain_transfer=option)
    challenge = shop.challenge(seller)
    hash_ = sent(shop, seller, key, transfer_call(PATH, seller.config.recipient, PRICE))
    with pytest.raises(VerificationFailed, match="no memo that binds"):
        shop.check(seller, challenge, {"type": "hash", "hash": hash_})


@pytest.mark.guard("T05")
def test_a_memo_of_the_sellers_own_is_never_pushed(shop: Shop) -> None:
    """It would bind the payment to no challenge; the offer says so, and the check too."""
    seller, pushing = shop.seller(memo="0x" + "22" * 32), shop.seller()
    assert seller.offer(Decimal("0.25"), Extras())["methodDetails"]["supportedModes"] == ["pull"]
    request = dict(shop.challenge(pushing).request_object())
    request["methodDetails"] = {"chainId": 42431, "memo": "0x" + "22" * 32}
    challenge = shop.challenge(pushing, request=request)
    hash_ = sent(
        shop, pushing, shop.account(), transfer_call(PATH, pushing.config.recipient, PRICE, bytes.fromhex("22" * 32))
    )
    with pytest.raises(VerificationFailed, match="bind it to no challenge"):
        shop.check(pushing, challenge, {"type": "hash", "hash": hash_})


@pytest.mark.spec("TCHG-050")
def test_a_hash_is_refused_where_the_server_pays_the_fee(shop: Shop) -> None:
    """Sponsored charges are pulled."""
    seller, pushing = shop.seller(fee_payer_key=shop.account().secret().hex()), shop.seller()
    shown = shop.pay(shop.payer(mode="push"), shop.challenge(pushing))
    with pytest.raises(VerificationFailed, match="server pays the fee"):
        shop.check(seller, shop.challenge(seller), shown.payload)


@pytest.mark.spec("TCHG-052", "TCHG-063")
def test_a_hash_is_refused_where_push_was_not_offered(shop: Shop) -> None:
    """Pull only means pull only."""
    seller, pushing = shop.seller(modes=("pull",)), shop.seller()
    shown = shop.pay(shop.payer(mode="push"), shop.challenge(pushing))
    with pytest.raises(VerificationFailed, match="does not take a hash"):
        shop.check(seller, shop.challenge(seller), shown.payload)


@pytest.mark.spec("TCHG-061", "TCHG-062")
@pytest.mark.parametrize(
    ("units", "to_seller", "kind"),
    [(PRICE - 1, True, PaymentInsufficient), (PRICE + 1, True, VerificationFailed), (PRICE, False, VerificationFailed)],
)
def test_the_events_must_be_the_payment(shop: Shop, units: int, to_seller: bool, kind: type[Exception]) -> None:
    """Recipient and amount to the unit."""
    seller = shop.seller()
    challenge = shop.challenge(seller)
    to = seller.config.recipient if to_seller else fresh_address()
    hash_ = sent(shop, seller, shop.account(), transfer_call(PATH, to, units, bound(challenge)))
    with pytest.raises(kind):
        shop.check(seller, challenge, {"type": "hash", "hash": hash_})


def test_a_push_may_do_other_things_besides(shop: Shop) -> None:
    """The payer's transaction is its own affair; what counts is that the payment happened."""
    seller = shop.seller()
    challenge = shop.challenge(seller)
    mine = transfer_call(PATH, seller.config.recipient, PRICE, bound(challenge))
    hash_ = sent(shop, seller, shop.account(), transfer_call(PATH, fresh_address(), 1), mine)
    assert shop.check(seller, challenge, {"type": "hash", "hash": hash_}).proof.endswith(hash_)


@pytest.mark.spec("TCHG-061")
def test_a_reverted_push_is_no_payment(shop: Shop) -> None:
    """A transaction that is on the chain and failed."""
    key = shop.account(dollars=1)
    seller = shop.seller()
    challenge = shop.challenge(seller, "3")
    hash_ = sent(shop, seller, key, transfer_call(PATH, seller.config.recipient, 3_000_000, bound(challenge)))
    with pytest.raises(VerificationFailed, match="reverted"):
        shop.check(seller, challenge, {"type": "hash", "hash": hash_})


@pytest.mark.guard("F12")
def test_a_replica_that_lags_gets_a_moment(shop: Shop, faulty: FaultyNode) -> None:
    """The receipt shows up at the third question."""
    seller = shop.seller(rpc_url=faulty.url)
    challenge = shop.challenge(seller)
    shown = shop.pay(shop.payer(mode="push"), challenge)
    faulty.on("eth_getTransactionReceipt", answer(None), times=2)
    assert shop.check(seller, challenge, shown.payload).payer


@pytest.mark.guard("F12")
def test_a_hash_that_nobody_knows_is_not_called_unpaid(shop: Shop) -> None:
    """The payer may come again with the same credential: not seen is not "not paid"."""
    with httpx.Client() as client:
        hasty = Shop(shop.chain, HastyWorld(client))
        seller = hasty.seller()
        with pytest.raises(RpcUnreachable, match="no receipt"):
            hasty.check(seller, hasty.challenge(seller), {"type": "hash", "hash": "0x" + "ab" * 32})
