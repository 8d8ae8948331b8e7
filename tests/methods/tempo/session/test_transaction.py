"""Opens and top-ups, as a client makes them and as the server reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.errors import (
    AmountExceedsDeposit,
    InvalidVoucher,
    PaymentInsufficient,
    SignerMismatch,
    UsageError,
    VerificationFailed,
)
from coinslot.methods.tempo.session.calls import WithdrawCall, approve_call, write_call
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, Escrow
from coinslot.methods.tempo.session.terms import SessionTerms
from coinslot.methods.tempo.session.transaction import (
    Opening,
    open_transaction,
    opened_channel,
    read_opening,
    read_top_up,
)
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.tip20 import transfer_call
from coinslot.methods.tempo.transaction.build import serialise, sign, sign_with_access_key
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, AccessEntry, Call, TempoTransaction
from support.tempochannel import (
    ALPHA,
    BOTH,
    DEPOSIT,
    E1,
    E2,
    EXPIRES,
    KEY,
    NOW,
    OPERATOR,
    OTHER_KEY,
    PATH,
    PAYEE,
    TIMES,
    Opened,
    channel,
    funding,
    open_call,
    opening,
    signed,
    terms,
    topping_up,
)

Change = Callable[[TempoTransaction], TempoTransaction]


def read(opened: Opened, asked: SessionTerms | None = None, times: tuple[float, float] = TIMES) -> Opening:
    """The server's reading."""
    asked = asked or terms(opened.channel.escrow)
    return read_opening(opened.payload, asked, VoucherScheme(asked.escrow), times)


def changed(place: Escrow, change: Change, **options: Any) -> Opened:
    """An open whose transaction was changed before it was signed; channel and voucher are those of the new one."""
    one = opening(place, **options)
    tx = change(one.tx)
    ref = opened_channel(place, open_call(place), tx, KEY.address)
    voucher = VoucherScheme(place).sign(KEY, ref.id, one.payload.cumulative_units)
    return Opened(tx, ref, replace(one.payload, channel=ref, transaction=signed(tx), signature=voucher))


@pytest.mark.spec("TSES-094", "TSES-103", "TSES-109")
@pytest.mark.parametrize("place", BOTH)
def test_an_open_is_read_as_it_was_made(place: Escrow) -> None:
    """Payer from the signature, signer and deposit from the calldata, the channel computed."""
    made = opening(place, units=25)
    found = read(made)
    assert found.channel == made.channel
    assert (found.payer, found.signer, found.deposit_units, found.cumulative_units) == (
        KEY.address, KEY.address, DEPOSIT, 25,
    )  # fmt: skip
    assert len(made.tx.calls) == (2 if place.version == V1 else 1)


@pytest.mark.spec("TSES-052")
@pytest.mark.parametrize("envelope", [False, True])
@pytest.mark.parametrize("place", BOTH)
def test_a_sponsored_open_leaves_the_fee_to_the_server(place: Escrow, envelope: bool) -> None:
    """In either form; no fee token, the placeholder instead of a sponsor's signature."""
    made = opening(place, sponsored=True)
    assert made.tx.fee_token is None
    assert made.tx.fee_payer_signature == AWAITING_FEE_PAYER
    made = replace(made, payload=replace(made.payload, transaction=signed(made.tx, envelope=envelope)))
    assert read(made, terms(place, sponsored=True)).signed.transaction.awaiting_fee_payer


@pytest.mark.spec("TSES-048", "TSES-053")
def test_who_pays_its_own_fee_names_the_token() -> None:
    """Not to sign what can't be executed."""
    assert opening(E2).tx.fee_token == PATH
    with pytest.raises(UsageError, match="token"):
        opening(E2, fee_token=None)


def test_an_access_key_opens_for_its_account() -> None:
    """The account is the payer; the key is named as the signer of vouchers."""
    tx, ref = open_transaction(E2, open_call(E2, authorized_signer=OTHER_KEY.address), funding())
    done = sign_with_access_key(tx, OTHER_KEY, KEY.address)
    made = opening(E2)
    payload = replace(made.payload, channel=ref, transaction=serialise(done), authorized_signer=None)
    payload = replace(payload, signature=VoucherScheme(E2).sign(OTHER_KEY, ref.id, 0))
    found = read(replace(made, payload=payload))
    assert (found.payer, found.signer) == (KEY.address, OTHER_KEY.address)


@pytest.mark.parametrize("place", BOTH)
def test_without_an_authorized_signer_the_payer_signs(place: Escrow) -> None:
    """Zero delegates to the payer."""
    made = opening(place, open_call(place, authorized_signer=ZERO_ADDRESS))
    made = replace(made, payload=replace(made.payload, authorized_signer=None))
    assert read(made).signer == KEY.address


@pytest.mark.guard("T31")
@pytest.mark.spec("TSES-050")
@pytest.mark.parametrize("place", BOTH)
@pytest.mark.parametrize("sponsored", [False, True])
def test_a_transaction_that_does_more_is_refused(place: Escrow, sponsored: bool) -> None:
    """A call before, after, twice, or instead."""
    transfer = transfer_call(PATH, PAYEE, 1)
    approve = approve_call(PATH, place.address, DEPOSIT)
    changes: list[Change] = [
        lambda tx: replace(tx, calls=(*tx.calls, transfer)),
        lambda tx: replace(tx, calls=(transfer, *tx.calls)),
        lambda tx: replace(tx, calls=(transfer, tx.calls[-1])),
        lambda tx: replace(tx, calls=(approve, approve, tx.calls[-1])),
        lambda tx: replace(tx, calls=(tx.calls[-1], tx.calls[-1])),
        lambda tx: replace(tx, calls=(tx.calls[-1], approve)),
        lambda tx: replace(tx, calls=(approve,)),
        lambda tx: replace(tx, calls=(write_call(place, WithdrawCall(channel(place))),)),
        lambda tx: replace(tx, calls=(replace(tx.calls[-1], data=tx.calls[-1].data + b"\x00"),)),
    ]
    for change in changes:
        with pytest.raises(VerificationFailed):
            read(changed(place, change, sponsored=sponsored), terms(place, sponsored=sponsored))


@pytest.mark.guard("T31")
def test_an_approval_is_of_the_deposit_only() -> None:
    """Another token, spender or amount is not; none at all is fine where the escrow needs none."""
    read(changed(E1, lambda tx: replace(tx, calls=tx.calls[1:])))
    for approval in (
        approve_call(ALPHA, E1.address, DEPOSIT),
        approve_call(PATH, PAYEE, DEPOSIT),
        approve_call(PATH, E1.address, DEPOSIT + 1),
        approve_call(PATH, E1.address, DEPOSIT - 1),
    ):
        with pytest.raises(VerificationFailed, match="approves"):
            read(changed(E1, approving(approval)))
    with pytest.raises(VerificationFailed, match="more than"):
        read(changed(E2, lambda tx: replace(tx, calls=(approve_call(PATH, E2.address, DEPOSIT), *tx.calls))))


def approving(approval: Call) -> Change:
    """Another approval before the open."""
    return lambda tx: replace(tx, calls=(approval, tx.calls[1]))


FIELDS: list[tuple[str, Change]] = [
    ("another chain", lambda tx: replace(tx, chain_id=4217)),
    ("access list", lambda tx: replace(tx, access_list=(AccessEntry(PAYEE),))),
    ("no valid_before", lambda tx: replace(tx, valid_before=None)),
    ("not valid any more", lambda tx: replace(tx, valid_before=int(NOW))),
    ("longer than the challenge", lambda tx: replace(tx, valid_before=int(EXPIRES) + 6)),
    ("not valid yet", lambda tx: replace(tx, valid_after=int(NOW) + 1)),
    ("wants a sponsor", lambda tx: replace(tx, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER)),
    ("no TIP-20", lambda tx: replace(tx, fee_token=PAYEE)),
]


@pytest.mark.guard("T07", "T31", "F13")
@pytest.mark.parametrize("place", BOTH)
@pytest.mark.parametrize(("reason", "change"), FIELDS, ids=[reason for reason, _ in FIELDS])
def test_each_field_of_the_transaction_is_checked(place: Escrow, reason: str, change: Change) -> None:
    """Refused by name, in opens and in top-ups."""
    with pytest.raises(VerificationFailed, match=reason):
        read(changed(place, change))
    tx, payload = topping_up(place)
    with pytest.raises(VerificationFailed, match=reason):
        read_top_up(replace(payload, transaction=signed(change(tx))), terms(place), KEY.address, TIMES)


@pytest.mark.spec("TSES-050")
def test_a_sponsored_session_takes_sponsored_transactions_only() -> None:
    """And chooses the fee token itself."""
    sponsored = terms(E2, sponsored=True)
    with pytest.raises(VerificationFailed, match="leave its fee"):
        read(opening(E2), sponsored)
    with pytest.raises(VerificationFailed, match="sponsor chooses"):
        read(changed(E2, lambda tx: replace(tx, fee_token=PATH), sponsored=True), sponsored)


@pytest.mark.spec("TSES-014", "TSES-015", "TSES-016", "TSES-032", "TSES-098", "TSES-099", "TSES-100")
@pytest.mark.parametrize("place", BOTH)
def test_an_open_for_other_terms_is_refused(place: Escrow) -> None:
    """Payee, token, operator, and a deposit for one unit at least."""
    for call, reason in (
        (open_call(place, payee=ALPHA), "somebody else"),
        (open_call(place, token=ALPHA), "token"),
    ):
        with pytest.raises(VerificationFailed, match=reason):
            read(opening(place, call))
    if place == E2:
        with pytest.raises(VerificationFailed, match="operator"):
            read(opening(place, open_call(place, operator=OPERATOR)))
        with pytest.raises(VerificationFailed, match="operator"):
            read(opening(place), terms(place, operator=OPERATOR))
    with pytest.raises(PaymentInsufficient):
        read(opening(place, open_call(place, deposit_units=24)))
    read(opening(place, open_call(place, deposit_units=25)))


@pytest.mark.guard("T08")
@pytest.mark.spec("TSES-012", "TSES-017", "TSES-065", "TSES-095")
@pytest.mark.parametrize("place", BOTH)
def test_an_open_makes_the_channel_that_it_names(place: Escrow) -> None:
    """Another id, or the descriptor of an earlier transaction with the same terms, is refused with its voucher."""
    one = opening(place)
    if place == E2:
        stale = opening(place, valid_before=int(NOW) + 19).channel
        assert stale.required_descriptor() != one.channel.required_descriptor()
    else:
        stale = ChannelRef(place, "0x" + "77" * 32)
    voucher = VoucherScheme(place).sign(KEY, stale.id, 0)
    with pytest.raises(VerificationFailed, match="another channel"):
        read(replace(one, payload=replace(one.payload, channel=stale, signature=voucher)))


@pytest.mark.guard("T15")
@pytest.mark.spec("TSES-066", "TSES-103", "TSES-131")
@pytest.mark.parametrize("place", BOTH)
def test_the_first_voucher_is_the_signers(place: Escrow) -> None:
    """Not anybody's, not malformed, not of a signer whom the request claims."""
    one = opening(place)
    forged = VoucherScheme(place).sign(OTHER_KEY, one.channel.id, 0)
    with pytest.raises(SignerMismatch):
        read(replace(one, payload=replace(one.payload, signature=forged)))
    with pytest.raises(VerificationFailed, match="authorizedSigner"):
        read(replace(one, payload=replace(one.payload, signature=forged, authorized_signer=OTHER_KEY.address)))
    with pytest.raises(InvalidVoucher):
        read(replace(one, payload=replace(one.payload, signature=one.payload.signature[:64])))


@pytest.mark.parametrize("place", BOTH)
def test_the_first_voucher_is_within_the_deposit(place: Escrow) -> None:
    """Up to it, not beyond."""
    read(opening(place, units=DEPOSIT))
    with pytest.raises(AmountExceedsDeposit):
        read(opening(place, units=DEPOSIT + 1))


def test_bytes_that_are_no_transaction_are_refused() -> None:
    """Or one that somebody changed after it was signed."""
    one = opening(E2)
    for raw in (b"", b"\x76", one.payload.transaction[:-1], one.payload.transaction + b"\x00", b"\x02\xc0"):
        with pytest.raises(VerificationFailed, match="transaction"):
            read(replace(one, payload=replace(one.payload, transaction=raw)))


@pytest.mark.spec("TSES-110")
@pytest.mark.parametrize("place", BOTH)
def test_a_top_up_is_read_as_it_was_made(place: Escrow) -> None:
    """By the payer, of this channel, of this amount."""
    _, payload = topping_up(place)
    found = read_top_up(payload, terms(place), KEY.address, TIMES)
    assert (found.channel, found.additional_units) == (channel(place), 5000)


@pytest.mark.guard("T08")
@pytest.mark.spec("TSES-110", "TSES-111")
@pytest.mark.parametrize("place", BOTH)
def test_another_top_up_is_refused(place: Escrow) -> None:
    """Another amount, channel or payer, or no top-up at all."""
    tx, payload = topping_up(place)
    other = ChannelRef(place, "0x" + "01" * 32) if place == E1 else channel(place, salt="0x" + "01" * 32)
    for bad, payer, reason in (
        (replace(payload, additional_units=5001), KEY.address, "another amount"),
        (replace(payload, channel=other), KEY.address, "another channel"),
        (payload, OTHER_KEY.address, "not the payer's"),
        (replace(payload, transaction=opening(place).payload.transaction), KEY.address, "does not top up"),
    ):
        with pytest.raises(VerificationFailed, match=reason):
            read_top_up(bad, terms(place), payer, TIMES)
    more = replace(tx, calls=(transfer_call(PATH, PAYEE, 1), *tx.calls))
    with pytest.raises(VerificationFailed):
        read_top_up(replace(payload, transaction=signed(more)), terms(place), KEY.address, TIMES)


def test_two_equal_top_ups_are_two_transactions() -> None:
    """Told apart by a time in the past; an empty one is none."""
    first, second = (topping_up(E2, valid_after=int(NOW) - past)[0] for past in (100, 200))
    assert serialise(sign(first, KEY)) != serialise(sign(second, KEY))
    with pytest.raises(UsageError, match="nothing"):
        topping_up(E2, 0)
