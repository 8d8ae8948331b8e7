"""A server's suggestion to go on with a channel: what a payer takes from it, and what it never takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import encode_object
from coinslot.errors import NoPayableOffer
from coinslot.intents.acts import Held, Standing
from coinslot.methods.tempo.session.channel import StreamChannel, channel_id
from coinslot.methods.tempo.session.payer import TempoSessionPayer
from coinslot.methods.tempo.session.record import record
from coinslot.methods.tempo.session.snapshot import HighestVoucher, Snapshot
from coinslot.methods.tempo.session.terms import SessionTerms, write_session_request
from coinslot.methods.tempo.session.voucher import VoucherScheme
from support.tempochannel import ALPHA, E1, E2, KEY, OPERATOR, OTHER_KEY, PATH, PAYEE, SALT, descriptor, terms
from support.temposession import challenge_of, offline_payer

D = descriptor(operator="0x" + "00" * 20)
ID = channel_id(E2, D)
PAYER = offline_payer()
HELD = replace(record(E2, D).held(1000), signed_units=500, voucher=b"old", standing=Standing.OPEN, origin="https://x")
STRANGE = "0x" + "77" * 20


def highest(units: int, key: PrivateKey = KEY) -> HighestVoucher:
    """The voucher that a server sends along."""
    return HighestVoucher(units, VoucherScheme(E2).sign(key, ID, units))


ONE = Snapshot(E2, ID, D, 1000, 100, 500, 600, 400, highest_voucher=highest(500))


def suggested(
    snapshot: Snapshot | Mapping[str, Any] | None,
    held: Held | None,
    *,
    by_header: bool = False,
    payer: TempoSessionPayer = PAYER,
    asked: SessionTerms | None = None,
    fields: Mapping[str, str] | None = None,
) -> Held | None:
    """What the payer makes of a challenge with this snapshot in it, or in a header of its answer."""
    request = write_session_request(asked or terms(E2))
    told = snapshot.members() if isinstance(snapshot, Snapshot) else snapshot
    headers = dict(fields or {})
    if told is not None and by_header:
        headers["payment-session-snapshot"] = encode_object(dict(told))
    elif told is not None:
        request["methodDetails"]["sessionSnapshot"] = told
    challenge = challenge_of(request)
    return payer.hint(challenge, payer.terms(challenge), headers, held)


@pytest.mark.guard("F04")
@pytest.mark.spec("TSES-047")
@pytest.mark.parametrize("by_header", [False, True])
def test_a_lost_record_comes_back_by_our_own_signature(by_header: bool) -> None:
    """All of it: enough to sign, top up and close; never less signed than the signature shows."""
    found = suggested(ONE, None, by_header=by_header)
    assert found is not None
    assert (found.key, found.channel_id, found.state) == (HELD.key, ID, HELD.state)
    assert (found.payer, found.payee, found.signer, found.asset) == (HELD.payer, PAYEE, KEY.address, HELD.asset)
    assert (found.signed_units, found.acknowledged_units, found.spent_units) == (500, 500, 400)
    assert (found.deposit_units, found.settled_units, found.standing) == (1000, 100, Standing.OPEN)
    VoucherScheme(E2).verify(ID, 500, found.voucher, KEY.address)
    assert PAYER.fits(found, terms(E2))
    VoucherScheme(E2).verify(ID, 525, PAYER.sign(found, 525), KEY.address)


@pytest.mark.guard("F05")
def test_an_old_record_is_brought_forward_and_keeps_what_it_knows() -> None:
    """From a backup: our signature in the snapshot shows what was signed since."""
    found = suggested(ONE, replace(HELD, signed_units=300, acknowledged_units=300))
    assert found == replace(
        HELD,
        signed_units=500,
        acknowledged_units=500,
        spent_units=400,
        settled_units=100,
        voucher=highest(500).signature,
    )


@pytest.mark.guard("T24", "F05")
def test_a_record_is_never_brought_back() -> None:
    """What we signed stays signed, whatever the server has of it."""
    for snapshot in (ONE, replace(ONE, accepted_units=200, spent_units=100, highest_voucher=highest(200))):
        found = suggested(snapshot, replace(HELD, signed_units=900, deposit_units=2000, settled_units=150))
        assert found is not None
        assert (found.signed_units, found.voucher, found.deposit_units) == (900, b"old", 2000)
        assert (found.acknowledged_units, found.settled_units) == (snapshot.accepted_units, 150)


@pytest.mark.guard("T24")
@pytest.mark.parametrize(
    "voucher",
    [
        None,
        highest(501, OTHER_KEY),
        HighestVoucher(501, highest(500).signature),
        HighestVoucher(501, b""),
        highest(500),
    ],
    ids=["none", "another's", "of another amount", "empty", "of less"],
)
def test_one_unit_more_than_we_signed_is_refused(voucher: HighestVoucher | None) -> None:
    """With a record it can't be true; without one it is not shown, and nothing is built on it."""
    lie = replace(ONE, accepted_units=501, highest_voucher=voucher)
    with pytest.raises(NoPayableOffer, match="more than we signed"):
        suggested(lie, HELD)
    assert suggested(lie, None) is None


TAMPERED: dict[str, Snapshot] = {
    "another chain": replace(ONE, escrow=replace(E2, chain_id=4217)),
    "another escrow": replace(ONE, escrow=replace(E2, address=STRANGE)),
    "another id": replace(ONE, channel_id="0x" + "11" * 32, highest_voucher=None),
    "another salt": replace(ONE, descriptor=replace(D, salt="0x" + "11" * 32)),
    "another opening": replace(ONE, descriptor=replace(D, expiring_nonce_hash="0x" + "11" * 32)),
    "another payee": replace(ONE, descriptor=replace(D, payee=STRANGE)),
    "another token": replace(ONE, descriptor=replace(D, token=ALPHA)),
    "an operator": replace(ONE, descriptor=replace(D, operator=OPERATOR)),
    "spent more than accepted": replace(ONE, spent_units=501),
    "settled more than deposited": replace(ONE, settled_units=1001),
}


@pytest.mark.guard("T07", "T08", "T24")
@pytest.mark.spec("TSES-047")
@pytest.mark.parametrize("name", TAMPERED)
@pytest.mark.parametrize("held", [HELD, None], ids=["held", "lost"])
def test_each_lie_is_refused(name: str, held: Held | None) -> None:
    """One by one, with a record and without."""
    with pytest.raises(NoPayableOffer, match="can't be true"):
        suggested(TAMPERED[name], held)


def rehashed(**changes: str) -> Snapshot:
    """A snapshot of a channel that is true to its id, with a voucher of ours for that one."""
    other = replace(D, **changes)
    other_id = channel_id(E2, other)
    voucher = HighestVoucher(500, VoucherScheme(E2).sign(KEY, other_id, 500))
    return replace(ONE, descriptor=other, channel_id=other_id, highest_voucher=voucher)


@pytest.mark.guard("T24", "T47")
@pytest.mark.parametrize("changes", [{"payee": STRANGE}, {"token": ALPHA}, {"operator": OPERATOR}])
def test_a_real_channel_under_other_terms_is_refused(changes: dict[str, str]) -> None:
    """The server's own challenge asks for another payee, token or operator than the channel that it suggests."""
    with pytest.raises(NoPayableOffer, match="can't be true"):
        suggested(rehashed(**changes), None)


@pytest.mark.guard("T15")
@pytest.mark.parametrize("changes", [{"payer": STRANGE}, {"authorized_signer": OTHER_KEY.address}])
def test_a_channel_that_is_not_ours_to_sign_for_is_passed_over(changes: dict[str, str]) -> None:
    """Another's, or of a voucher key that is no more: then a fresh one is opened."""
    assert suggested(rehashed(**changes), None) is None


def test_a_channel_of_an_earlier_key_of_the_account_goes_on() -> None:
    """A voucher key was set since; the account's own key still signs."""
    payer = offline_payer(voucher_key=OTHER_KEY)
    found = suggested(ONE, None, payer=payer)
    assert found is not None
    VoucherScheme(E2).verify(ID, 600, payer.sign(found, 600), KEY.address)


def test_another_channel_than_ours_is_suggested() -> None:
    """It is judged by itself: what we signed on one channel shows nothing on another."""
    other = rehashed(salt="0x" + "88" * 32)
    found = suggested(other, replace(HELD, signed_units=5))
    assert found is not None
    assert (found.channel_id, found.signed_units, found.origin) == (other.channel_id, 500, "")
    assert suggested(replace(other, highest_voucher=None), replace(HELD, signed_units=900)) is None


@pytest.mark.parametrize("standing", [Standing.CLOSED, Standing.LOST])
def test_a_channel_that_is_over_is_not_taken_up_again(standing: Standing) -> None:
    """Whatever the server believes of it."""
    assert suggested(ONE, replace(HELD, standing=standing)) is None


def test_a_channel_that_is_closing_says_so() -> None:
    """So that nobody buys on it; and one that the server serves is open."""
    closing = suggested(replace(ONE, close_requested_at=1_800_000_000), HELD)
    assert closing is not None
    assert (closing.standing, closing.closing_at_s) == (Standing.CLOSING, 1_800_000_000.0)
    opened = suggested(ONE, replace(HELD, standing=Standing.OPENING))
    assert opened is not None
    assert opened.standing is Standing.OPEN
    asked = suggested(ONE, replace(HELD, standing=Standing.CLOSING, closing_at_s=7.0))
    assert asked is not None
    assert (asked.standing, asked.closing_at_s) == (Standing.CLOSING, 7.0)


@pytest.mark.parametrize("by_header", [False, True])
def test_an_id_alone_is_believed_of_our_own_channel_only(by_header: bool) -> None:
    """v1 servers, and v2 ones without a snapshot: it is ours and fits, or it is nothing."""
    stream = record(E1, StreamChannel(KEY.address, PAYEE, PATH, SALT, KEY.address)).held(1000)
    for place, held in ((E1, stream), (E2, HELD)):
        named = held.channel_id.upper().replace("0X", "0x")
        fields = {"payment-session": f" {named} "} if by_header else {}
        asked = terms(place) if by_header else terms(place, channel_id=held.channel_id)
        assert suggested(None, held, asked=asked, fields=fields) == held
        assert suggested(None, None, asked=asked, fields=fields) is None
        assert suggested(None, replace(held, channel_id="0x" + "12" * 32), asked=asked, fields=fields) is None
        assert suggested(None, held, asked=replace(asked, recipient=STRANGE), fields=fields) is None
    assert suggested(None, HELD) is None


def test_a_snapshot_of_v2_is_nothing_to_v1() -> None:
    """A header that doesn't belong there."""
    assert suggested(ONE, None, by_header=True, asked=terms(E1)) is None


def test_what_can_not_be_read_is_refused() -> None:
    """In the header as in the challenge; nor a challenge of other terms than were agreed to."""
    with pytest.raises(NoPayableOffer):
        suggested(None, HELD, fields={"payment-session-snapshot": "e30"})
    with pytest.raises(NoPayableOffer):
        suggested({"channelId": ID}, HELD)
    challenge = challenge_of(write_session_request(terms(E2)))
    with pytest.raises(NoPayableOffer, match="agreed to"):
        PAYER.hint(challenge, replace(terms(E2), amount_units=26), {}, None)


def test_a_fresh_challenge_may_suggest_what_the_first_did_not() -> None:
    """What was judged is the price and whom it goes to; the suggestion is read from the challenge at hand."""
    found = PAYER.hint(challenge_of(write_session_request(terms(E2, snapshot=ONE))), terms(E2), {}, HELD)
    assert found is not None
    assert found.spent_units == 400


amounts = st.integers(0, 2**96 - 1) | st.integers(490, 510)
texts = amounts.map(str)
changes = st.fixed_dictionaries(
    {},
    optional={
        "acceptedCumulative": texts,
        "spent": texts,
        "deposit": texts,
        "settled": texts,
        "requiredCumulative": texts,
        "chainId": st.sampled_from([42431, 4217, 1]),
        "escrow": st.sampled_from([E2.address, E1.address, STRANGE]),
        "channelId": st.sampled_from([ID, "0x" + "11" * 32]),
        "closeRequestedAt": texts,
        "highestVoucher": st.none()
        | st.builds(
            lambda units, signed, key: {
                "channelId": ID,
                "cumulativeAmount": str(units),
                "signature": "0x" + VoucherScheme(E2).sign(key, ID, signed).hex(),
            },
            amounts,
            amounts,
            st.just(OTHER_KEY) | st.just(PrivateKey(b"\x03" * 32)),
        ),
    },
)
members = st.sampled_from(["payer", "payee", "operator", "token", "salt", "authorizedSigner", "expiringNonceHash"])
others = st.sampled_from([STRANGE, ALPHA, PATH, PAYEE, KEY.address, "0x" + "00" * 20, "0x" + "11" * 32, SALT])


@pytest.mark.guard("T07", "T08", "T15", "T24")
@settings(max_examples=200)
@given(changes, st.dictionaries(members, others, max_size=2), st.booleans(), st.booleans())
def test_no_tampering_moves_what_we_signed(
    tampered: dict[str, Any], parts: dict[str, str], known: bool, by_header: bool
) -> None:
    """Whatever is changed in a snapshot: it is refused, passed over, or leaves channel and totals as they are."""
    told = ONE.members() | tampered
    told["descriptor"] = told["descriptor"] | parts
    told = {key: value for key, value in told.items() if value is not None}
    try:
        found = suggested(told, HELD if known else None, by_header=by_header)
    except NoPayableOffer:
        return
    if found is None:
        return
    ours = "highestVoucher" not in tampered
    assert (found.key, found.channel_id, found.state, found.payee) == (HELD.key, ID, HELD.state, PAYEE)
    assert found.signed_units == (500 if known or ours else 0)
    assert found.spent_units <= found.acknowledged_units <= found.signed_units
