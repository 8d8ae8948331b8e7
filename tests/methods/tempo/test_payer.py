"""A wallet pays what it understands, on its own chain, in tokens that it knows, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.instant import parse_instant
from coinslot.drive import RealWorld
from coinslot.errors import NoPayableOffer, PaymentOutcomeUnknown, RpcUnreachable, UsageError
from coinslot.intents.charge import Settled
from coinslot.method import Fate, Sending
from coinslot.methods.tempo.charge_payer import TempoChargePayer
from coinslot.methods.tempo.memo import attribution_memo, verify_attribution_memo
from coinslot.methods.tempo.settings import KnownToken
from coinslot.methods.tempo.tip20 import read_transfer_call
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, EXPIRING_NONCE_KEY
from support.rpcfault import FaultyNode, answer, drop, drop_after
from support.temposhop import ALPHA, DOLLAR, PATH, Shop, fresh_address
from support.till import REALM

SYNC = "eth_sendRawTransactionSync"
UNKNOWN = "0x20c0" + "11" * 18


@pytest.fixture
def request_of(shop: Shop) -> dict[str, Any]:
    """An offer of a quarter of a dollar."""
    return dict(shop.challenge(shop.seller()).request_object())


REFUSED: dict[str, tuple[Mapping[str, Any], str]] = {
    "another chain": ({"methodDetails": {"chainId": 4217}}, "asked on chain 4217"),
    "no chain": ({"methodDetails": {}}, "chainId"),
    "an unknown token": ({"currency": UNKNOWN}, "neither pinned"),
    "a memo that pays another challenge": (
        {"methodDetails": {"chainId": 42431, "memo": "0x" + attribution_memo(REALM, "other").hex()}},
        "another challenge",
    ),
    "splits of more than everything": (
        {"methodDetails": {"chainId": 42431, "splits": [{"recipient": "0x" + "99" * 20, "amount": "250000"}]}},
        "leave nothing",
    ),
    "no way to pay it": ({"methodDetails": {"chainId": 42431, "supportedModes": []}}, "supportedModes"),
    "an amount that is none": ({"amount": "2.5"}, "amount"),
    "no recipient": ({"recipient": "treasury.eth"}, "recipient"),
}


@pytest.mark.guard("T05", "T07", "T47")
@pytest.mark.spec("TCHG-008", "TCHG-017", "TCHG-066", "TCHG-068", "TCHG-070")
@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_understand_is_not_signed(shop: Shop, request_of: dict[str, Any], name: str) -> None:
    """Refused by name before any key is used."""
    changes, reason = REFUSED[name]
    seller, payer = shop.seller(), shop.payer(shop.account(dollars=0))
    challenge = shop.challenge(seller, request={**request_of, **changes})
    with pytest.raises(NoPayableOffer, match=reason):
        payer.terms(challenge)


@pytest.mark.spec("TCHG-067", "TCHG-069", "TCHG-071")
def test_the_terms_say_everything_that_a_policy_judges(shop: Shop) -> None:
    """Amount, asset with its peg, and each payee, so that a purse can refuse before anything is signed."""
    seller, other = shop.seller(), fresh_address()
    challenge = shop.challenge(seller, splits=((other, Decimal("0.05")),))
    terms = shop.payer(shop.account(dollars=0)).terms(challenge)
    assert (terms.amount_units, terms.asset.id, terms.asset.peg) == (250_000, PATH, "USD")
    assert [(p.recipient, p.amount_units) for p in terms.payees] == [
        (seller.config.recipient, 200_000),
        (other, 50_000),
    ]


@pytest.mark.guard("T47")
def test_a_token_of_the_owners_own_is_paid_without_a_peg(shop: Shop, request_of: dict[str, Any]) -> None:
    """Who owns the wallet may vouch for a token; what it is worth is the owner's word as well, never the server's."""
    mine = KnownToken(address=UNKNOWN, decimals=4, symbol="MINE")
    payer = shop.payer(shop.account(dollars=0), tokens=(mine,))
    terms = payer.terms(shop.challenge(shop.seller(), request={**request_of, "currency": UNKNOWN}))
    assert (terms.asset.decimals, terms.asset.symbol, terms.asset.peg) == (4, "MINE", None)
    lying = KnownToken(address=PATH, decimals=2, symbol="cheap")
    terms = shop.payer(shop.account(dollars=0), tokens=(lying,)).terms(shop.challenge(shop.seller()))
    assert (terms.asset.decimals, terms.asset.peg) == (6, "USD")


@pytest.mark.spec("TCHG-007", "TCHG-011", "TCHG-021", "TCHG-023", "TCHG-024", "TCHG-025", "TCHG-045", "TCHG-048")
def test_the_transaction_is_the_payment_and_nothing_else(shop: Shop) -> None:
    """Calls in the order of the request, memos where asked for, an explicit fee token, a few seconds to live."""
    seller = shop.seller()
    request = dict(shop.challenge(seller).request_object())
    memo, others = "0x" + "de" * 32, [fresh_address(), fresh_address()]
    request["methodDetails"] = {
        "chainId": 42431,
        "splits": [{"recipient": others[0], "amount": "5", "memo": memo}, {"recipient": others[1], "amount": "6"}],
    }
    challenge = shop.challenge(seller, request=request)
    tx = shop.transaction(shop.payer(), challenge)
    found = [read_transfer_call(call) for call in tx.calls]
    assert [(f.token, f.recipient, f.amount_units) for f in found] == [
        (PATH, seller.config.recipient, 249_989),
        (PATH, others[0], 5),
        (PATH, others[1], 6),
    ]
    verify_attribution_memo(found[0].memo or b"", challenge.realm, challenge.id)
    assert [f.memo for f in found[1:]] == [bytes.fromhex(memo[2:]), None]
    assert (tx.fee_token, tx.fee_payer_signature, tx.chain_id) == (PATH, None, 42431)
    assert (tx.nonce_key, tx.nonce, tx.access_list) == (EXPIRING_NONCE_KEY, 0, ())
    assert tx.valid_before is not None
    assert 3 <= tx.valid_before - time.time() <= 26


def test_a_challenge_that_ends_sooner_ends_the_transaction(shop: Shop) -> None:
    """Never valid beyond the challenge, so that a late server can't take the money."""
    challenge = shop.challenge(shop.seller(), lives_s=20)
    tx = shop.transaction(shop.payer(), challenge)
    assert tx.valid_before is not None
    assert tx.valid_before <= parse_instant(challenge.expires or "")


@pytest.mark.parametrize("lives_s", [-1, 1])
def test_a_challenge_that_is_over_is_not_paid(shop: Shop, lives_s: float) -> None:
    """Nor one that ends before a server could broadcast."""
    payer, challenge = shop.payer(), shop.challenge(shop.seller(), lives_s=lives_s)
    with pytest.raises(NoPayableOffer, match="expired, or is about to"):
        shop.pay(payer, challenge)


@pytest.mark.spec("TCHG-007")
def test_the_memo_that_the_server_asks_for_is_the_transfers(shop: Shop) -> None:
    """In place of the one that would bind it to the challenge."""
    memo = "22" * 32
    tx = shop.transaction(shop.payer(), shop.challenge(shop.seller(memo=f"0x{memo}")))
    (found,) = [read_transfer_call(call) for call in tx.calls]
    assert found.memo == bytes.fromhex(memo)


@pytest.mark.spec("TCHG-047", "TCHG-049")
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_a_sponsored_payment_leaves_the_fee_open_and_is_always_pulled(shop: Shop, mode: str) -> None:
    """Placeholder, no fee token, and a signed transaction even for a wallet that prefers to push."""
    seller = shop.seller(fee_payer_key="01" * 32)
    tx = shop.transaction(shop.payer(mode=mode), shop.challenge(seller))
    assert (tx.fee_payer_signature, tx.fee_token) == (AWAITING_FEE_PAYER, None)


@pytest.mark.spec("TCHG-049")
def test_a_sponsored_charge_that_takes_a_hash_only_is_not_paid(shop: Shop, request_of: dict[str, Any]) -> None:
    """The two exclude each other."""
    details = {"chainId": 42431, "feePayer": True, "supportedModes": ["push"]}
    challenge = shop.challenge(shop.seller(), request={**request_of, "methodDetails": details})
    payer = shop.payer()
    with pytest.raises(NoPayableOffer, match="does not take a signed transaction"):
        shop.pay(payer, challenge)


@pytest.mark.spec("TCHG-008", "TCHG-051")
@pytest.mark.parametrize("wanted", ["pull", "push"])
@pytest.mark.parametrize("offered", ["pull", "push"])
def test_the_mode_is_one_that_the_server_offers(shop: Shop, wanted: str, offered: str) -> None:
    """The wallet's preference decides only where there is a choice."""
    seller = shop.seller(modes=(offered,))
    shown = shop.pay(shop.payer(mode=wanted), shop.challenge(seller))
    assert shown.payload["type"] == {"pull": "transaction", "push": "hash"}[offered]


@pytest.mark.spec("CORE-044", "TCHG-035", "TCHG-037", "TCHG-038")
def test_zero_is_proven_whatever_the_modes_are(shop: Shop) -> None:
    """A proof with its source, and nothing to look up."""
    key = PrivateKey(bytes([1] * 32))
    shown = shop.pay(shop.payer(key), shop.challenge(shop.seller(modes=("push",)), "0"))
    assert (shown.payload["type"], shown.reference) == ("proof", None)
    assert shown.source == f"did:pkh:eip155:42431:{key.address}"


def test_an_access_key_proves_no_account(shop: Shop) -> None:
    """It signs transactions only; a charge of zero wants the account's own key."""
    payer = shop.payer(shop.account(dollars=0), account=fresh_address())
    challenge = shop.challenge(shop.seller(), "0")
    with pytest.raises(NoPayableOffer, match="access key"):
        shop.pay(payer, challenge)


@pytest.mark.spec("TCHG-048")
@pytest.mark.parametrize("price", ["5", "6"])
def test_what_the_account_can_not_pay_is_not_signed(shop: Shop, price: str) -> None:
    """Neither without the price, nor without the fee on top of it."""
    payer, challenge = shop.payer(), shop.challenge(shop.seller(), price)
    with pytest.raises(NoPayableOffer, match="are needed"):
        shop.pay(payer, challenge)


def test_the_fee_can_be_paid_in_another_token(shop: Shop) -> None:
    """The price takes all there is of one token, the fee comes from the other."""
    key = shop.account(dollars=1)
    shop.chain.fund(key.address, DOLLAR, ALPHA)
    seller = shop.seller()
    challenge = shop.challenge(seller, "1")
    outcome = shop.through(seller, challenge, shop.pay(shop.payer(key, fee_token=ALPHA), challenge))
    assert isinstance(outcome, Settled)
    assert shop.held(key.address) == 0
    assert shop.held(key.address, ALPHA) < DOLLAR


def test_a_network_that_asks_too_much_is_not_paid(shop: Shop, faulty: FaultyNode) -> None:
    """A node can't make the wallet sign any fee it likes."""
    faulty.on("eth_gasPrice", answer(hex(10**12)))
    payer, challenge = shop.payer(rpc_url=faulty.url), shop.challenge(shop.seller())
    with pytest.raises(NoPayableOffer, match="max_fee_per_gas"):
        shop.pay(payer, challenge)


class LateWorld(RealWorld):
    """A world whose clock is an hour slow."""

    def now(self) -> float:
        """An hour ago."""
        return super().now() - 3600


def test_a_wrong_clock_does_not_matter(shop: Shop) -> None:
    """The validity follows the chain's clock where ours is off."""
    payer, challenge = shop.payer(), shop.challenge(shop.seller())
    with httpx.Client() as client:
        tx = Shop(shop.chain, LateWorld(client)).transaction(payer, challenge)
    assert tx.valid_before is not None
    assert tx.valid_before > time.time()


@pytest.mark.guard("F11")
def test_a_push_whose_answer_is_lost_is_unknown_with_its_hash(shop: Shop, faulty: FaultyNode) -> None:
    """The node took it: whoever pays again now pays twice, so the error says what to look up."""
    payer, seller = shop.payer(rpc_url=faulty.url, mode="push"), shop.seller()
    challenge = shop.challenge(seller)
    faulty.on(SYNC, drop_after)
    with pytest.raises(PaymentOutcomeUnknown) as lost:
        shop.pay(payer, challenge)
    checked = shop.check(seller, challenge, {"type": "hash", "hash": lost.value.reference})
    assert isinstance(shop.settle(seller, shop.prepare(seller, checked)), Settled)


@pytest.mark.parametrize("method", ["eth_getBlockByNumber", "eth_gasPrice", "eth_call"])
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_a_node_that_is_away_before_anything_was_sent_is_no_unknown_outcome(
    shop: Shop, faulty: FaultyNode, method: str, mode: str
) -> None:
    """Nothing has moved, and the error does not claim that something might have."""
    payer, challenge = shop.payer(rpc_url=faulty.url, mode=mode), shop.challenge(shop.seller())
    faulty.on(method, drop)
    with pytest.raises(RpcUnreachable):
        shop.pay(payer, challenge)
    assert SYNC not in faulty.calls


def test_a_push_that_the_node_refuses_has_not_moved_anything(shop: Shop) -> None:
    """An access key that was never authorized: refused, and known to be."""
    root = shop.account()
    payer, challenge = (
        shop.payer(shop.account(dollars=0), account=root.address, mode="push"),
        shop.challenge(shop.seller()),
    )
    with pytest.raises(NoPayableOffer, match="refused"):
        shop.pay(payer, challenge)
    assert shop.held(root.address) == 5 * DOLLAR


def signed(shop: Shop, payer: TempoChargePayer) -> Sending:
    """A payment that was signed, and not sent."""
    challenge = shop.challenge(shop.seller())
    sending = shop.run(payer.pay(challenge, payer.terms(challenge))).sending
    assert isinstance(sending, Sending)
    return sending


@pytest.mark.guard("F03", "F14")
def test_what_is_sent_again_pays_once(shop: Shop) -> None:
    """Whether it had been sent or only written down."""
    key = shop.account()
    payer = shop.payer(key, mode="push")
    sending = signed(shop, payer)
    shop.run(payer.send(sending, again=True))
    after = shop.held(key.address)
    assert after < 5 * DOLLAR
    shop.run(payer.send(sending, again=True))
    assert shop.held(key.address) == after


@pytest.mark.guard("F12", "F13")
def test_what_is_refused_now_is_dead_when_its_time_is_past(shop: Shop) -> None:
    """Until then another node may have taken it."""
    payer = shop.payer(shop.account(dollars=0), account=shop.account().address, mode="push")
    sending = signed(shop, payer)
    with pytest.raises(PaymentOutcomeUnknown):
        shop.run(payer.send(sending, again=True))
    with pytest.raises(NoPayableOffer, match="nothing moved"):
        shop.run(payer.send(replace(sending, valid_until=0), again=True))


@pytest.mark.guard("F12", "F13")
def test_the_chain_says_what_became_of_it_and_nothing_is_sent(shop: Shop) -> None:
    """Not there while it may be taken; dead when it can't be any more; landed when it is there, whatever the time."""
    key = shop.account()
    payer = shop.payer(key, mode="push")
    sending = signed(shop, payer)
    assert shop.run(payer.look(sending)) is Fate.OPEN
    assert shop.run(payer.look(replace(sending, valid_until=0))) is Fate.DEAD
    assert shop.held(key.address) == 5 * DOLLAR
    shop.run(payer.send(sending, again=False))
    assert shop.run(payer.look(replace(sending, valid_until=0))) is Fate.LANDED


@pytest.mark.guard("F11")
def test_a_node_that_is_away_proves_nothing(shop: Shop, faulty: FaultyNode) -> None:
    """Refused, and then silent."""
    account = shop.account()
    payer = shop.payer(shop.account(dollars=0), account=account.address, mode="push", rpc_url=faulty.url)
    sending = signed(shop, payer)
    faulty.on("eth_getTransactionReceipt", drop)
    with pytest.raises(PaymentOutcomeUnknown):
        shop.run(payer.send(sending, again=True))


def test_terms_of_another_challenge_are_not_paid(shop: Shop) -> None:
    """What was judged is what is signed."""
    seller, payer = shop.seller(), shop.payer(shop.account(dollars=0))
    challenge = shop.challenge(seller)
    judged = payer.terms(shop.challenge(seller, "0.01"))
    with pytest.raises(UsageError, match="not those of this challenge"):
        shop.run(payer.pay(challenge, judged))


def test_a_sponsored_payment_can_be_looked_up_by_its_memo(shop: Shop) -> None:
    """Its hash is the sponsor's to make; the memo is on the chain in an index."""
    seller = shop.seller(fee_payer_key=shop.account().secret().hex())
    challenge = shop.challenge(seller)
    shown = shop.pay(shop.payer(client_id="tester"), challenge)
    assert str(shown.reference).startswith("memo:0xef1ed71201")
    assert isinstance(shop.through(seller, challenge, shown), Settled)
    memo = str(shown.reference).removeprefix("memo:")
    logs = shop.chain.rpc("eth_getLogs", {"fromBlock": "earliest", "topics": [None, None, None, memo]})
    assert isinstance(logs, list)
    assert len(logs) == 1


def test_two_payments_in_one_second_are_two_transactions(shop: Shop) -> None:
    """The memo of each challenge tells them apart, so the chain takes both."""
    seller, payer = shop.seller(), shop.payer()
    challenges = [shop.challenge(seller) for _ in range(3)]
    shown = [shop.pay(payer, challenge) for challenge in challenges]
    for challenge, each in zip(challenges, shown, strict=True):
        assert isinstance(shop.through(seller, challenge, each), Settled)
    assert shop.held(seller.config.recipient) == 750_000


@pytest.mark.guard("T38")
def test_the_key_is_in_no_repr(shop: Shop) -> None:
    """Neither of the payer nor of what it presents; and what it presents is no secret of the repr either."""
    payer, challenge = shop.payer(), shop.challenge(shop.seller())
    shown = shop.pay(payer, challenge)
    text = repr(payer) + repr(shown) + repr(replace(shown, source="x"))
    assert payer.config.key.secret().hex() not in text
    assert shown.payload["signature"] not in text
