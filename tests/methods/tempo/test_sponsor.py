"""A sponsor signs the payment it was asked for, and nothing that was smuggled in beside it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm import rlp
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import Challenge
from coinslot.errors import PaymentInsufficient, RailUnavailable, VerificationFailed
from coinslot.intents.charge import DailyLimits, Refused, Settled
from coinslot.methods.tempo.legs import Binding
from coinslot.methods.tempo.memo import attribution_memo
from coinslot.methods.tempo.pull import Pulled, check_pull
from coinslot.methods.tempo.sponsor import Sponsor
from coinslot.methods.tempo.terms import Leg, TempoTerms
from coinslot.methods.tempo.tip20 import transfer_call
from coinslot.methods.tempo.tokens import asset
from coinslot.methods.tempo.transaction.build import (
    serialise,
    serialise_for_fee_payer,
    sign,
    sign_as_fee_payer,
    sign_with_access_key,
)
from coinslot.methods.tempo.transaction.fields import (
    AWAITING_FEE_PAYER,
    EXPIRING_NONCE_KEY,
    AccessEntry,
    Call,
    TempoTransaction,
)
from coinslot.methods.tempo.transaction.key_authorization import KeyAuthorization, sign_key_authorization
from coinslot.methods.tempo.transaction.read import read_transaction
from support.temposhop import ALPHA, DOLLAR, PATH, Shop, fresh_address, payload, signed
from support.tempotx import calls as any_calls

SPONSOR = PrivateKey(bytes([7] * 32))
SELLER = "0x" + "51" * 20
OTHER = "0x" + "99" * 20
PRICE = 250_000
FEE_MANAGER = "0xfeec000000000000000000000000000000000000"
Craft = Callable[[TempoTransaction, PrivateKey, Challenge], bytes]


@pytest.fixture
def sponsored(shop: Shop) -> Shop:
    """The shop, with money in the sponsor's purse."""
    if shop.held(SPONSOR.address) < 5 * DOLLAR:
        shop.chain.fund(SPONSOR.address, 10 * DOLLAR)
    return shop


def seller_settings() -> dict[str, str]:
    """A seller that sponsors."""
    return {"recipient": SELLER, "fee_payer_key": SPONSOR.secret().hex()}


def field(**changes: object) -> Craft:
    """The same transaction with other fields, signed by its sender."""
    return lambda tx, key, challenge: signed(tx, key, **changes)


def timed(name: str, ahead_s: int) -> Craft:
    """The same transaction with a time so many seconds from when it is made, signed."""
    return lambda tx, key, challenge: signed(tx, key, **{name: int(time.time()) + ahead_s})


def also(*extra: Call) -> Craft:
    """The payment, and something else."""
    return lambda tx, key, challenge: signed(tx, key, calls=(*tx.calls, *extra))


def first(*extra: Call) -> Craft:
    """Something else, and then the payment."""
    return lambda tx, key, challenge: signed(tx, key, calls=(*extra, *tx.calls))


def raw_item(index: int, item: rlp.Encodable) -> Craft:
    """Another RLP item in the place of a field, under the old signature."""

    def craft(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
        items = rlp.decode(serialise(tx)[1:])
        assert isinstance(items, tuple)
        return b"\x76" + rlp.encode([*items[:index], item, *items[index + 1 :]])

    return craft


def with_key(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """The authorization of an access key along with the payment."""
    authorization = KeyAuthorization(SPONSOR.address, tx.chain_id)
    return signed(tx, key, key_authorization=sign_key_authorization(authorization, key))


def envelope(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """The hand-over form, naming another sender."""
    return serialise_for_fee_payer(sign(tx, key), OTHER)


def calldata(data: bytes, tail: bytes = b"") -> Craft:
    """The payment with other bytes in front of, or after, its arguments."""

    def craft(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
        (call,) = tx.calls
        return signed(tx, key, calls=(replace(call, data=(data or call.data[:4]) + call.data[4:] + tail),))

    return craft


def own_sponsor(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """Complete already: another account has signed as fee payer."""
    return serialise(sign_as_fee_payer(sign(tx, key), key, sender=key.address, fee_token=ALPHA))


def approve(spender: str) -> Call:
    """An approval of everything."""
    return Call(PATH, 0, bytes.fromhex("095ea7b3") + bytes(12) + bytes.fromhex(spender[2:]) + b"\xff" * 32)


SMUGGLED: dict[str, tuple[Craft, str]] = {
    "a second transfer": (also(transfer_call(PATH, OTHER, 1)), "does more"),
    "a transfer before it": (first(transfer_call(PATH, OTHER, 1)), "does more"),
    "the payment twice": (lambda tx, key, challenge: signed(tx, key, calls=tx.calls * 2), "does more"),
    "a transfer of another token": (also(transfer_call(ALPHA, OTHER, 1)), "does more"),
    "thirty calls": (lambda tx, key, challenge: signed(tx, key, calls=tx.calls * 30), "does more"),
    "an approval": (also(approve(OTHER)), "not a call of transfer"),
    "a call of the fee manager": (also(Call(FEE_MANAGER, 0, b"\x01\x02\x03\x04")), "not a call of transfer"),
    "an empty call": (also(Call(OTHER)), "not a call of transfer"),
    "native value": (
        lambda tx, key, challenge: signed(tx, key, calls=(replace(tx.calls[0], value=1),)),
        "no native value",
    ),
    "trailing calldata": (calldata(b"", b"\x00" * 4096), "not exactly 3 words"),
    "another function": (calldata(bytes.fromhex("23b872dd")), "not a call of transfer"),
    "an access list": (field(access_list=(AccessEntry(OTHER, (bytes(32),) * 50),)), "access list"),
    "account delegations": (raw_item(12, [[b"\x01"]]), "authorization list"),
    "an access key's authorization": (with_key, "authorizes an access key"),
    "a fee token of the payer's choice": (field(fee_token=ALPHA), "names a fee token"),
    "too much gas": (field(gas_limit=2_000_001), "gas limit is higher"),
    "too little gas": (field(gas_limit=60_000), "gas limit is too low"),
    "too high a price": (field(max_fee_per_gas=100_000_000_001), "gas price is higher"),
    "too high a fee": (field(gas_limit=2_000_000, max_fee_per_gas=60_000_000_000), "could cost more"),
    "a tip above the price": (field(max_priority_fee_per_gas=10**12), "priority fee"),
    "the account's own nonce": (field(nonce_key=0, nonce=7), "expiring nonce"),
    "a lane of its own": (field(nonce_key=5), "expiring nonce"),
    "a nonce beside the expiring one": (field(nonce=1), "expiring nonce"),
    "no end": (field(valid_before=None), "no valid_before"),
    "a late end": (timed("valid_before", 110), "more than 90 s"),
    "an end that is too near": (timed("valid_before", 2), "less than 3 s|not valid any more"),
    "a start in the future": (timed("valid_after", 15), "not valid yet"),
    "another chain": (field(chain_id=1), "another chain"),
    "no sponsor wanted": (field(fee_payer_signature=None, fee_token=PATH), "does not leave its fee"),
    "another sponsor": (own_sponsor, "does not leave its fee|names a fee token"),
    "another sender in the envelope": (envelope, "names another sender"),
    "no sender's signature": (raw_item(13, b""), "unknown signature"),
    "a sender's signature of zeros": (raw_item(13, bytes(64) + b"\x1b"), "out of range"),
    "a field too many": (lambda tx, key, challenge: b"\x76" + rlp.encode([bytes(1)] * 16), "14 or 15 fields"),
    "a number with a leading zero": (raw_item(7, b"\x00"), "starts with a zero"),
    "a long end": (raw_item(8, b"\x01" * 9), "wider than 64 bits"),
}


@pytest.mark.guard("T30", "T31", "T36")
@pytest.mark.parametrize("name", SMUGGLED)
def test_nothing_is_smuggled_past_the_sponsor(sponsored: Shop, name: str) -> None:
    """Refused by name, and the sponsor's purse is untouched."""
    craft, reason = SMUGGLED[name]
    key = sponsored.account(dollars=1)
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    raw = craft(sponsored.transaction(sponsored.payer(key), challenge), key, challenge)
    purse = sponsored.held(SPONSOR.address)
    with pytest.raises((VerificationFailed, PaymentInsufficient), match=reason):
        sponsored.prepare(seller, sponsored.check(seller, challenge, payload(raw)))
    assert sponsored.held(SPONSOR.address) == purse


@pytest.mark.guard("T30")
def test_the_sponsor_sponsors_no_payment_of_its_own(sponsored: Shop) -> None:
    """Its key signs as fee payer only."""
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    shown = sponsored.pay(sponsored.payer(SPONSOR), challenge)
    with pytest.raises(VerificationFailed, match="the sponsor is the sender"):
        sponsored.check(seller, challenge, shown.payload)


@pytest.mark.spec("TCHG-047")
def test_what_is_broadcast_is_the_payers_transaction_and_two_signatures(sponsored: Shop) -> None:
    """The sponsor adds its choice of token and its signature, and changes nothing the sender signed."""
    key = sponsored.account(dollars=1)
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    tx = sponsored.transaction(sponsored.payer(key), challenge)
    assert (tx.fee_payer_signature, tx.fee_token) == (AWAITING_FEE_PAYER, None)
    prepared = sponsored.prepare(seller, sponsored.check(seller, challenge, payload(serialise(tx))))
    final = read_transaction(prepared.raw)
    assert (final.sender, final.fee_payer) == (key.address, SPONSOR.address)
    assert final.transaction.fee_token == PATH
    open_again = replace(final.transaction, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER)
    assert open_again == tx


def test_the_envelope_of_some_clients_is_taken_too(sponsored: Shop) -> None:
    """0x78 with the sender's address says the same as 0x76 with a placeholder, and is the same proof."""
    key = sponsored.account(dollars=1)
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    tx = sponsored.transaction(sponsored.payer(key), challenge)
    plain = sponsored.check(seller, challenge, payload(serialise(tx)))
    enveloped = sponsored.check(seller, challenge, payload(serialise_for_fee_payer(tx, key.address)))
    assert plain.proof == enveloped.proof
    assert isinstance(sponsored.settle(seller, sponsored.prepare(seller, enveloped)), Settled)


@pytest.mark.guard("T31")
@pytest.mark.spec("TCHG-075")
def test_each_sponsored_payment_draws_on_two_budgets(sponsored: Shop) -> None:
    """The payer's own and everybody's, by the most that the transaction can cost."""
    key = sponsored.account(dollars=1)
    seller = sponsored.seller(**seller_settings(), sponsor_payer_daily="0.5", sponsor_daily="7")
    challenge = sponsored.challenge(seller)
    tx = sponsored.transaction(sponsored.payer(key), challenge)
    checked = sponsored.check(seller, challenge, payload(serialise(tx)))
    mine, all_ = checked.budgets
    assert mine.units == all_.units == -(-tx.gas_limit * tx.max_fee_per_gas // 10**12)
    assert (mine.limit_units, all_.limit_units, mine.window_s) == (500_000, 7_000_000, 86_400)
    assert key.address in mine.key
    assert key.address not in all_.key
    assert mine.key != all_.key


@pytest.mark.guard("T31")
@pytest.mark.parametrize("others", [0, 2])
def test_gas_that_does_not_suffice_is_noticed_before_it_costs_anything(sponsored: Shop, others: int) -> None:
    """Whatever limit the payer chose: either it is refused, or it pays; a sponsor's fee for nothing is not among it."""
    seller = sponsored.seller(**seller_settings())
    splits = tuple((fresh_address(), Decimal("0.01")) for _ in range(others))
    refusals, settled = [], 0
    for gas_limit in range(50_000, 1_000_000, 90_000):
        key = sponsored.account(dollars=1)
        challenge = sponsored.challenge(seller, splits=splits)
        tx = sponsored.transaction(sponsored.payer(key), challenge)
        checked = sponsored.check(seller, challenge, payload(signed(tx, key, gas_limit=gas_limit)))
        try:
            ready = sponsored.prepare(seller, checked)
        except VerificationFailed as error:
            refusals.append(error.detail)
            continue
        assert isinstance(sponsored.settle(seller, ready), Settled), gas_limit
        settled += 1
    assert settled
    assert refusals
    assert all("gas limit is too low" in each for each in refusals)


@pytest.mark.spec("TCHG-076")
def test_an_empty_sponsor_refuses_and_says_so(shop: Shop) -> None:
    """Nobody is told to pay again for what is the server's trouble: 503, nothing charged."""
    seller = shop.seller(recipient=SELLER, fee_payer_key=shop.account(dollars=0).secret().hex())
    challenge = shop.challenge(seller)
    checked = shop.check(seller, challenge, shop.pay(shop.payer(), challenge).payload)
    with pytest.raises(RailUnavailable, match="pays the fees here is empty"):
        shop.prepare(seller, checked)


@pytest.mark.spec("TCHG-073")
def test_splits_are_given_more_gas(sponsored: Shop) -> None:
    """The limit grows with the number of transfers, and ten of them pass within it."""
    key = sponsored.account(dollars=5)
    seller = sponsored.seller(**seller_settings(), sponsor_max_fee="1")
    others = tuple((fresh_address(), Decimal("0.01")) for _ in range(10))
    challenge = sponsored.challenge(seller, "1", splits=others)
    outcome = sponsored.through(seller, challenge, sponsored.pay(sponsored.payer(key), challenge))
    assert isinstance(outcome, Settled)
    assert [sponsored.held(who) for who, _ in others] == [10_000] * 10


@pytest.mark.guard("T34")
def test_a_payment_that_would_fail_is_not_sponsored(sponsored: Shop) -> None:
    """A payer without the money costs the sponsor nothing."""
    rich, poor = sponsored.account(dollars=1), sponsored.account(dollars=0)
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    tx = sponsored.transaction(sponsored.payer(rich), challenge)
    checked = sponsored.check(seller, challenge, payload(signed(tx, poor)))
    purse = sponsored.held(SPONSOR.address)
    with pytest.raises(PaymentInsufficient):
        sponsored.prepare(seller, checked)
    assert sponsored.held(SPONSOR.address) == purse


@pytest.mark.guard("T34")
def test_money_moved_away_after_the_check_costs_one_fee_at_most(sponsored: Shop) -> None:
    """The chain refuses it, nobody is delivered to, and the loss is bounded by what was reserved."""
    key = sponsored.account(dollars=1)
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    shown = sponsored.pay(sponsored.payer(key), challenge)
    checked = sponsored.check(seller, challenge, shown.payload, shown.source)
    prepared = sponsored.prepare(seller, checked)
    purse = sponsored.held(SPONSOR.address)
    away = sponsored.seller()
    drain = sponsored.challenge(away, "0.95")
    assert isinstance(sponsored.through(away, drain, sponsored.pay(sponsored.payer(key), drain)), Settled)
    outcome = sponsored.settle(seller, prepared)
    assert isinstance(outcome, Refused)
    assert purse - sponsored.held(SPONSOR.address) <= checked.budgets[0].units


@pytest.mark.guard("T36")
def test_ten_payers_are_sponsored_at_once(sponsored: Shop) -> None:
    """No nonce of the sponsor's is involved, so nobody waits for, or blocks, another."""
    seller = sponsored.seller(**seller_settings())
    prepared = []
    for _ in range(10):
        key = sponsored.account(dollars=1)
        challenge = sponsored.challenge(seller)
        shown = sponsored.pay(sponsored.payer(key), challenge)
        prepared.append(sponsored.prepare(seller, sponsored.check(seller, challenge, shown.payload)))
    outcomes = [sponsored.settle(seller, each) for each in reversed(prepared)]
    assert all(isinstance(each, Settled) for each in outcomes)
    assert len({each.reference for each in prepared}) == 10


# --- without a chain: whatever is added to a payment, it is refused -------------------------------

_KEY = PrivateKey(bytes([9] * 32))
_CHALLENGE = Challenge("c" * 43, "api.example.com", "tempo", "charge", "e30")
_TERMS = TempoTerms(
    asset=asset(42431, PATH, None),
    amount_units=PRICE,
    payees=(),
    chain_id=42431,
    legs=(Leg(SELLER, PRICE),),
    sponsored=True,
    modes=frozenset({"pull"}),
)
_SPONSOR = Sponsor(SPONSOR, PATH, 2_000_000, 10**11, 10**6, DailyLimits(10**6, 10**6), 90, False)
_GOOD = TempoTransaction(
    chain_id=42431,
    calls=(transfer_call(PATH, SELLER, PRICE, attribution_memo("api.example.com", "c" * 43)),),
    gas_limit=1_000_000,
    max_fee_per_gas=4 * 10**10,
    nonce_key=EXPIRING_NONCE_KEY,
    valid_before=1_000_025,
    fee_payer_signature=AWAITING_FEE_PAYER,
)


def offered(tx: TempoTransaction) -> Pulled:
    """What the checks say of a transaction at second 1,000,000."""
    raw = serialise(sign(tx, _KEY))
    return check_pull(raw, _TERMS, Binding(_CHALLENGE), _SPONSOR, (1_000_000.0, 1_000_120.0))


@pytest.mark.guard("T30")
@given(any_calls, st.integers(0, 1))
def test_a_random_call_beside_the_payment_is_never_sponsored(extra: Call, at: int) -> None:
    """Whatever it is, wherever it stands."""
    made = list(_GOOD.calls)
    made.insert(at, extra)
    with pytest.raises((VerificationFailed, PaymentInsufficient)):
        offered(replace(_GOOD, calls=tuple(made)))


@pytest.mark.guard("T31")
@given(st.data())
def test_a_flipped_byte_is_never_sponsored(data: st.DataObject) -> None:
    """The sender's signature covers everything, and the reader knows one spelling only."""
    raw = bytearray(serialise(sign(_GOOD, _KEY)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        pulled = check_pull(bytes(raw), _TERMS, Binding(_CHALLENGE), _SPONSOR, (1_000_000.0, 1_000_120.0))
    except (VerificationFailed, PaymentInsufficient):
        return
    # What remains is somebody else's signature: the same harmless fields, and an account that holds nothing.
    assert pulled.signed.sender != _KEY.address
    read_transaction(pulled.raw)


@pytest.mark.guard("T18")
def test_an_unknown_access_key_is_not_sponsored(sponsored: Shop) -> None:
    """A key that the chain doesn't know is refused before it costs anything."""
    root = sponsored.account(dollars=1)
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    tx = sponsored.transaction(sponsored.payer(root), challenge)
    raw = serialise(sign_with_access_key(tx, PrivateKey(secrets.token_bytes(32)), root.address))
    with pytest.raises(VerificationFailed, match="not authorized"):
        sponsored.prepare(seller, sponsored.check(seller, challenge, payload(raw)))


def test_the_sponsors_key_is_in_no_repr(sponsored: Shop) -> None:
    """Neither of the settings, nor of the seller, nor of what is on its way."""
    seller = sponsored.seller(**seller_settings())
    challenge = sponsored.challenge(seller)
    checked = sponsored.check(seller, challenge, sponsored.pay(sponsored.payer(), challenge).payload)
    shown = repr(seller) + repr(checked) + repr(sponsored.prepare(seller, checked))
    assert SPONSOR.secret().hex() not in shown
    assert to_hex(SPONSOR.secret()) not in shown
