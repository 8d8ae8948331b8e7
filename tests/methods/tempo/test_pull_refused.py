"""A transaction that deviates in one thing from what was asked is refused, and the refusal names the thing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from coinslot.chains.evm import rlp
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import Challenge
from coinslot.errors import InvalidChallenge, MalformedCredential, PaymentInsufficient, VerificationFailed
from coinslot.intents.charge import Settled
from coinslot.methods.tempo.memo import attribution_memo
from coinslot.methods.tempo.tip20 import transfer_call
from coinslot.methods.tempo.transaction.build import sender_digest, serialise, sign_with_access_key
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, AccessEntry, Call, TempoTransaction
from support.temposhop import ALPHA, PATH, Shop, fresh_address, payload, signed

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SELLER = "0x" + "51" * 20
PRICE = 250_000
Craft = Callable[[TempoTransaction, PrivateKey, Challenge], bytes]


def memo(challenge: Challenge) -> bytes:
    """The memo that binds to a challenge."""
    return attribution_memo(challenge.realm, challenge.id)


def calls(*wanted: Call) -> Craft:
    """The same transaction with other calls."""
    return lambda tx, key, challenge: signed(tx, key, calls=wanted)


def pays(to: str = SELLER, units: int = PRICE, token: str = PATH, **memo_of: str) -> Craft:
    """The same transaction with one transfer, bound to the challenge, or to another (`realm`, `id`)."""

    def craft(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
        bound = attribution_memo(memo_of.get("realm", challenge.realm), memo_of.get("id", challenge.id))
        return signed(tx, key, calls=(transfer_call(token, to, units, bound),))

    return craft


def field(**changes: object) -> Craft:
    """The same transaction with other fields, signed."""
    return lambda tx, key, challenge: signed(tx, key, **changes)


def timed(name: str, ahead_s: int) -> Craft:
    """The same transaction with a time so many seconds from when it is made, signed."""
    return lambda tx, key, challenge: signed(tx, key, **{name: int(time.time()) + ahead_s})


def extended(tail: bytes) -> Craft:
    """Bytes after the arguments of the transfer."""

    def craft(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
        (call,) = tx.calls
        return signed(tx, key, calls=(replace(call, data=call.data + tail),))

    return craft


def more(*extra: Call) -> Craft:
    """The payment, and something else."""
    return lambda tx, key, challenge: signed(tx, key, calls=(*tx.calls, *extra))


def high_s(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """The twin of the signature: same key, same digest, s in the upper half."""
    r, s, v = tx.sender_signature[:32], tx.sender_signature[32:64], tx.sender_signature[64]
    twin = r + (N - int.from_bytes(s, "big")).to_bytes(32, "big") + bytes((55 - v,))
    return serialise(replace(tx, sender_signature=twin))


def signature(made: bytes) -> Craft:
    """The same transaction under another signature."""
    return lambda tx, key, challenge: serialise(replace(tx, sender_signature=made))


def parity(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """The signature with v 0 or 1."""
    made = tx.sender_signature
    return serialise(replace(tx, sender_signature=made[:64] + bytes((made[64] - 27,))))


def unauthorized_key(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """Signed by a key that the account never let sign for it."""
    return serialise(sign_with_access_key(tx, PrivateKey(secrets.token_bytes(32)), key.address))


def keychain_v1(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """The access key signature that binds no account."""
    made = b"\x03" + bytes.fromhex(key.address[2:]) + key.sign_digest(sender_digest(tx))
    return serialise(replace(tx, sender_signature=made))


def delegating(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """A list of account delegations in its place."""
    items = rlp.decode(serialise(tx)[1:])
    assert isinstance(items, tuple)
    return b"\x76" + rlp.encode([*items[:12], [[b"\x01"]], *items[13:]])


def cut(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """The last byte missing."""
    return serialise(tx)[:-1]


def trailing(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """A byte too many."""
    return serialise(tx) + b"\x00"


def plain_ethereum(tx: TempoTransaction, key: PrivateKey, challenge: Challenge) -> bytes:
    """Another type of transaction."""
    return b"\x02" + serialise(tx)[1:]


NO = "0x" + "99" * 20
DEVIATIONS: dict[str, tuple[Craft, str]] = {
    "another recipient": (pays(to=NO), "no transfer to"),
    "one unit less": (pays(units=PRICE - 1), "less than 250000"),
    "one unit more": (pays(units=PRICE + 1), "not exactly 250000"),
    "another token": (pays(token=ALPHA), "no transfer of the currency"),
    "the memo of another challenge": (pays(id="x" * 43), "names another challenge"),
    "the memo of another server": (pays(realm="evil.example"), "names another server"),
    "a memo of its own": (calls(transfer_call(PATH, SELLER, PRICE, b"\x07" * 32)), "no attribution memo"),
    "no memo": (calls(transfer_call(PATH, SELLER, PRICE)), "no memo that binds"),
    "a second payment": (more(transfer_call(PATH, NO, 1)), "does more than the payment"),
    "an approval": (
        more(Call(PATH, 0, bytes.fromhex("095ea7b3") + bytes(12) + b"\x99" * 20 + b"\xff" * 32)),
        "not a call of transfer",
    ),
    "a call of another contract": (more(Call(NO, 0, b"")), "not a call of transfer"),
    "bytes after the arguments": (extended(b"\x00"), "not exactly 3 words"),
    "a word after the arguments": (extended(bytes(32)), "not exactly 3 words"),
    "native value": (
        lambda tx, key, challenge: signed(tx, key, calls=(replace(tx.calls[0], value=1),)),
        "no native value",
    ),
    "another chain": (field(chain_id=4217), "another chain"),
    "an access list": (field(access_list=(AccessEntry(NO, (bytes(32),)),)), "an access list"),
    "account delegations": (delegating, "an authorization list is not taken"),
    "no end": (field(valid_before=None), "no valid_before"),
    "an end after the challenge's": (timed("valid_before", 3600), "longer than the challenge"),
    "an end that is past": (timed("valid_before", -1), "not valid any more"),
    "a start in the future": (timed("valid_after", 15), "not valid yet"),
    "a fee token that is none": (field(fee_token=NO), "names no TIP-20 token"),
    "a wish for a sponsor": (
        field(fee_payer_signature=AWAITING_FEE_PAYER, fee_token=None),
        "wants a sponsor",
    ),
    "a signature with high s": (high_s, "lower half"),
    "a signature with v 0 or 1": (parity, "27 or 28"),
    "a P-256 signature": (signature(b"\x01" + bytes(129)), "P-256"),
    "a WebAuthn signature": (signature(b"\x02" + bytes(150)), "WebAuthn"),
    "an unbound access key signature": (keychain_v1, "access key, version 1"),
    "no signature": (signature(b""), "unknown signature"),
    "a key that was never authorized": (unauthorized_key, "not authorized for this account"),
    "a byte missing": (cut, "transaction:"),
    "a byte too many": (trailing, "bytes follow the end"),
    "another type": (plain_ethereum, "not a transaction of type 0x76"),
}


@pytest.mark.guard("T07", "T13", "T18", "T29", "T31")
@pytest.mark.spec("CHG-015", "CHG-016", "CHG-017", "TCHG-029", "TCHG-045", "TCHG-048", "TCHG-053", "TCHG-054")
@pytest.mark.spec("TCHG-055", "TCHG-056", "TCHG-057")
@pytest.mark.parametrize("name", DEVIATIONS)
def test_each_deviation_is_refused_by_name(shop: Shop, name: str) -> None:
    """Nothing is broadcast, and the answer says what was wrong."""
    craft, reason = DEVIATIONS[name]
    key = shop.account()
    seller = shop.seller(recipient=SELLER)
    challenge = shop.challenge(seller)
    raw = craft(shop.transaction(shop.payer(key), challenge), key, challenge)
    before = shop.held(SELLER)
    with pytest.raises((VerificationFailed, PaymentInsufficient), match=reason):
        shop.prepare(seller, shop.check(seller, challenge, payload(raw)))
    assert shop.held(SELLER) == before


def test_the_same_transaction_without_a_deviation_is_taken(shop: Shop) -> None:
    """The table above refuses for its reasons and not because nothing ever passes."""
    key = shop.account()
    seller = shop.seller(recipient=SELLER)
    challenge = shop.challenge(seller)
    raw = pays()(shop.transaction(shop.payer(key), challenge), key, challenge)
    checked = shop.check(seller, challenge, payload(raw))
    assert isinstance(shop.settle(seller, shop.prepare(seller, checked)), Settled)


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "transaction"},
        {"type": "transaction", "signature": 7},
        {"type": "transaction", "signature": "76f9"},
        {"type": "transaction", "signature": "0x76f"},
        {"type": "transaction", "signature": "0x" + "00" * 20_000},
        {"type": "hash"},
        {"type": "hash", "hash": "0x" + "ab" * 31},
        {"type": "hash", "hash": "ab" * 32},
        {"type": "Transaction", "signature": "0x76"},
        {"type": ["transaction"], "signature": "0x76"},
        {"signature": "0x76"},
        {},
    ],
    ids=str,
)
@pytest.mark.spec("CHG-009", "TCHG-031", "TCHG-032", "TCHG-033", "TCHG-034")
def test_an_unreadable_payload_is_malformed(shop: Shop, bad: dict[str, object]) -> None:
    """A payload of another shape gets its own name, before anything is asked of the chain."""
    seller = shop.seller()
    with pytest.raises(MalformedCredential):
        shop.check(seller, shop.challenge(seller), bad)


@pytest.mark.spec("TCHG-028")
@pytest.mark.parametrize(
    "source", ["did:pkh:eip155:42431:" + NO, "did:pkh:eip155:4217:{payer}", "did:key:z6Mk", "{payer}"]
)
def test_a_source_that_is_not_the_payer_is_refused(shop: Shop, source: str) -> None:
    """Who claims to pay is who pays, on this chain."""
    seller, payer = shop.seller(), shop.payer()
    challenge = shop.challenge(seller)
    shown = shop.pay(payer, challenge)
    with pytest.raises(VerificationFailed, match="source"):
        shop.check(seller, challenge, shown.payload, source.format(payer=payer.config.account))


def test_a_source_may_be_left_out(shop: Shop) -> None:
    """The signature says who pays."""
    seller, payer = shop.seller(), shop.payer()
    challenge = shop.challenge(seller)
    assert shop.check(seller, challenge, shop.pay(payer, challenge).payload).payer == payer.config.account


@pytest.mark.spec("TCHG-022", "TCHG-030", "TCHG-059")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("reversed", None),
        ("one missing", "no transfer to"),
        ("one twice", "does more than the payment"),
        ("swapped amounts", "less than|not exactly"),
        ("the whole to the recipient", "not exactly"),
        ("another challenge's memo on a share", "names another"),
        ("this challenge's memo on all", None),
        ("the memo on a share only", "no memo that binds"),
    ],
)
def test_each_share_needs_a_transfer_of_its_own(shop: Shop, name: str, reason: str | None) -> None:
    """In any order, each exactly once, and with no memo that could pay another challenge."""
    key, other = shop.account(), fresh_address()
    seller = shop.seller(recipient=SELLER)
    challenge = shop.challenge(seller, splits=((other, Decimal("0.05")),))
    tx = shop.transaction(shop.payer(key), challenge)
    main, share = tx.calls
    bound = memo(challenge)
    crafted = {
        "reversed": (share, main),
        "one missing": (main,),
        "one twice": (main, share, share),
        "swapped amounts": (transfer_call(PATH, SELLER, 50_000, bound), transfer_call(PATH, other, 200_000)),
        "the whole to the recipient": (transfer_call(PATH, SELLER, PRICE, bound), share),
        "another challenge's memo on a share": (
            main,
            transfer_call(PATH, other, 50_000, attribution_memo("other.example", "i")),
        ),
        "this challenge's memo on all": (main, transfer_call(PATH, other, 50_000, bound)),
        "the memo on a share only": (
            transfer_call(PATH, SELLER, 200_000),
            transfer_call(PATH, other, 50_000, bound),
        ),
    }[name]
    raw = signed(tx, key, calls=crafted)
    if reason is None:
        shop.check(seller, challenge, payload(raw))
        return
    with pytest.raises((VerificationFailed, PaymentInsufficient), match=reason):
        shop.check(seller, challenge, payload(raw))


@pytest.mark.spec("TCHG-059")
def test_two_shares_of_one_payee_need_two_transfers(shop: Shop) -> None:
    """Equal legs are counted, not only found."""
    key, other = shop.account(), fresh_address()
    seller = shop.seller()
    share = (other, Decimal("0.05"))
    challenge = shop.challenge(seller, splits=(share, share))
    tx = shop.transaction(shop.payer(key), challenge)
    assert len(tx.calls) == 3
    with pytest.raises(VerificationFailed, match=f"no transfer to {other}"):
        shop.check(seller, challenge, payload(signed(tx, key, calls=tx.calls[:2])))


@pytest.mark.spec("TCHG-007", "TCHG-058")
@pytest.mark.parametrize("wrong", [None, "11" * 32, "bound"])
def test_a_memo_that_was_asked_for_must_be_exactly_that(shop: Shop, wrong: str | None) -> None:
    """Neither a plain transfer, nor another memo, nor the one that binds will do."""
    key = shop.account()
    seller = shop.seller(recipient=SELLER, memo="0x" + "22" * 32)
    challenge = shop.challenge(seller)
    tx = shop.transaction(shop.payer(key), challenge)
    chosen = None if wrong is None else memo(challenge) if wrong == "bound" else bytes.fromhex(wrong)
    raw = signed(tx, key, calls=(transfer_call(PATH, SELLER, PRICE, chosen),))
    with pytest.raises(VerificationFailed, match="memo asked for"):
        shop.check(seller, challenge, payload(raw))


@pytest.mark.spec("TCHG-060")
def test_a_push_only_seller_takes_no_transaction(shop: Shop) -> None:
    """What was not offered is not taken."""
    seller, other = shop.seller(modes=("push",)), shop.seller()
    shown = shop.pay(shop.payer(), shop.challenge(other))
    with pytest.raises(VerificationFailed, match="pull"):
        shop.check(seller, shop.challenge(seller), shown.payload)


@pytest.mark.guard("T07")
def test_a_challenge_for_another_chain_or_currency_is_not_this_sellers(shop: Shop) -> None:
    """Terms are read back only where they are ours."""
    seller, other = shop.seller(), shop.seller(currency=ALPHA)
    offer = dict(shop.challenge(seller).request_object())
    with pytest.raises(InvalidChallenge):
        other.terms(offer)
    with pytest.raises(InvalidChallenge):
        seller.terms({**offer, "methodDetails": {"chainId": 4217}})


@pytest.mark.parametrize("option", [False, True])
def test_plain_transfers_are_an_option(shop: Shop, *, option: bool) -> None:
    """Without the option the memo is demanded; with it a plain transfer does, as long as it is not on the chain yet."""
    key = shop.account()
    seller = shop.seller(recipient=SELLER, allow_plain_transfer=option)
    challenge = shop.challenge(seller)
    tx = shop.transaction(shop.payer(key), challenge)
    raw = signed(tx, key, calls=(transfer_call(PATH, SELLER, PRICE),))
    if not option:
        with pytest.raises(VerificationFailed, match="no memo that binds"):
            shop.check(seller, challenge, payload(raw))
        return
    checked = shop.check(seller, challenge, payload(raw))
    assert isinstance(shop.settle(seller, shop.prepare(seller, checked)), Settled)


@pytest.mark.guard("T05")
@pytest.mark.parametrize("settings", [{"allow_plain_transfer": True}, {"memo": "0x" + "22" * 32}], ids=str)
def test_what_binds_to_no_challenge_must_not_be_on_the_chain_already(shop: Shop, settings: dict[str, object]) -> None:
    """An observer who copies somebody's payment off the chain gets nothing for it."""
    key = shop.account()
    seller = shop.seller(recipient=SELLER, **settings)
    challenge = shop.challenge(seller)
    tx = shop.transaction(shop.payer(key), challenge)
    chosen = bytes.fromhex("22" * 32) if "memo" in settings else None
    raw = signed(tx, key, calls=(transfer_call(PATH, SELLER, PRICE, chosen),))
    shop.chain.rpc("eth_sendRawTransactionSync", "0x" + raw.hex())
    stolen = shop.challenge(seller)
    with pytest.raises(VerificationFailed, match="on the chain already"):
        shop.prepare(seller, shop.check(seller, stolen, payload(raw)))


@pytest.mark.parametrize(("dollars", "reason"), [("5.00", "fee"), ("5.01", "would be refused")])
def test_a_payer_that_can_not_pay_is_told_before_it_loses_a_fee(shop: Shop, dollars: str, reason: str) -> None:
    """The simulation knows both the balance and the fee."""
    key = shop.account()
    seller = shop.seller(recipient=SELLER)
    challenge = shop.challenge(seller, dollars)
    donor = shop.transaction(shop.payer(key), shop.challenge(seller))
    raw = signed(donor, key, calls=(transfer_call(PATH, SELLER, int(Decimal(dollars) * 10**6), memo(challenge)),))
    checked = shop.check(seller, challenge, payload(raw))
    with pytest.raises(PaymentInsufficient, match=reason):
        shop.prepare(seller, checked)
    assert shop.held(key.address) == 5_000_000
