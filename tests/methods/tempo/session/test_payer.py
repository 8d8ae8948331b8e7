"""A payer of sessions on the real chain: what it signs is what the chain takes, and nothing moves before it is sent."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import replace
from typing import Any

import pytest

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import canonical
from coinslot.errors import NoPayableOffer, RpcUnreachable, UsageError
from coinslot.intents.acts import Act, Standing
from coinslot.methods.tempo.session.calls import CloseCall, SettleCall
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, V2, Version
from coinslot.methods.tempo.session.payload import OpenPayload, read_payload
from coinslot.methods.tempo.session.reserve import read_channel
from coinslot.methods.tempo.session.transaction import read_opening, read_top_up
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER
from coinslot.methods.tempo.transaction.key_authorization import KeyAuthorization, sign_key_authorization
from coinslot.methods.tempo.transaction.read import read_transaction
from support.rpcfault import FaultyNode, answer, drop
from support.tempochannel import ALPHA, PATH, asset_of, escrow
from support.temposession import Lane, lane, session_payer
from support.temposhop import DOLLAR, Shop, fresh_address

pytestmark = pytest.mark.devnet
VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])


def through(one: Lane, move: Any) -> OpenPayload:
    """The payload as our own server reads it from the wire."""
    payload = read_payload(json.loads(json.dumps(move.payload)), one.escrow)
    assert isinstance(payload, OpenPayload)
    times = (float(one.shop.chain.timestamp()), time.time() + 120)
    read_opening(payload, one.terms(), VoucherScheme(one.escrow), times)
    return payload


@VERSIONS
@pytest.mark.guard("T15")
@pytest.mark.spec("TSES-009", "TSES-010", "TSES-011", "TSES-037", "TSES-048", "TSES-053", "TSES-059", "TSES-064")
def test_the_channel_that_was_written_down_is_the_one_that_opens(shop: Shop, version: Version) -> None:
    """Nothing is sent by signing; once it is, the chain shows a channel of that very id, payer, payee and deposit."""
    one = lane(shop, version)
    before = one.balance(one.payer.account)
    move = one.open()
    held = move.held
    assert one.balance(one.payer.account) == before
    assert (held.key, held.network) == (f"eip155:42431/{held.channel_id}", "eip155:42431")
    assert (held.payer, held.payee, held.signer) == (one.payer.account, one.payee.address, one.payer.account)
    assert (held.deposit_units, held.signed_units, held.standing) == (DOLLAR, 25, Standing.OPENING)
    assert held.opening == canonical(dict(move.payload))
    assert move.payload["channelId"] == held.channel_id
    assert (move.reference, move.dead_after_s) == (held.reference, held.dead_after_s)
    assert held.dead_after_s is not None
    assert 3 <= held.dead_after_s - time.time() <= 26
    through(one, move)
    receipt = one.broadcast(move)
    assert receipt.transaction_hash == move.reference
    told = one.look(held)
    assert (told.key, told.exists, told.deposit_units, told.settled_units) == (held.key, True, DOLLAR, 0)
    assert (told.closing_at_s, told.closed) == (None, False)
    found = shop.run(read_channel(one.url, one.ref(held)))
    assert (found.payer, found.payee, found.token, found.signer) == (held.payer, held.payee, PATH, held.signer)
    assert move.source == f"did:pkh:eip155:42431:{one.payer.account}"


@VERSIONS
@pytest.mark.spec("TSES-078", "TSES-085", "TSES-091", "TSES-206", "TSES-207")
def test_its_vouchers_are_paid_out_by_the_chain(shop: Shop, version: Version) -> None:
    """The first one, a later one, and the one that closes."""
    one = lane(shop, version)
    held = one.opened()
    assert one.act(SettleCall(one.ref(held), 25, held.voucher)).succeeded
    voucher = one.payer.sign(held, 300_000)
    payload = one.payer.payload(held, Act.VOUCHER, 300_000, voucher)
    assert (payload["action"], payload["cumulativeAmount"]) == ("voucher", "300000")
    read = read_payload(payload, one.escrow)
    assert one.act(SettleCall(read.channel, 300_000, voucher)).succeeded
    assert one.look(held).settled_units == 300_000
    closing = one.payer.payload(held, Act.CLOSE, 400_000, one.payer.sign(held, 400_000))
    assert closing["action"] == "close"
    before = one.balance(one.payer.account)
    assert one.act(CloseCall(one.ref(held), 400_000, 400_000, one.payer.sign(held, 400_000))).succeeded
    assert one.balance(one.payer.account) == before + DOLLAR - 400_000


@VERSIONS
@pytest.mark.spec("TSES-072", "TSES-074")
def test_a_deposit_grows_by_what_was_signed(shop: Shop, version: Version) -> None:
    """Twice the same amount in the same second, too: they are two transactions."""
    one = lane(shop, version)
    held = one.opened()
    challenge = one.challenge()
    moves = [shop.run(one.payer.top_up(challenge, held, 500)) for _ in range(2)]
    assert len({move.reference for move in moves}) == 2
    for move in moves:
        assert move.held == held
        payload = read_payload(move.payload, one.escrow)
        times = (float(shop.chain.timestamp()), time.time() + 120)
        read_top_up(payload, one.terms(), one.payer.account, times)  # type: ignore[arg-type]  # its kind is read above
        assert one.broadcast(move).transaction_hash == move.reference
    assert one.look(held).deposit_units == DOLLAR + 1000


@VERSIONS
@pytest.mark.spec("TSES-052")
@pytest.mark.parametrize("envelope", [True, False], ids=["0x78", "0x76"])
def test_a_sponsored_channel_is_looked_up_by_its_id(shop: Shop, version: Version, envelope: bool) -> None:
    """The sponsor makes the final hash; the channel is the same, and its payer pays the deposit only."""
    one = lane(shop, version, sponsored=True, sponsor_envelope=envelope)
    move = one.open()
    handed = read_transaction(bytes.fromhex(move.payload["transaction"][2:])).transaction
    assert (handed.fee_payer_signature, handed.fee_token) == (AWAITING_FEE_PAYER, None)
    assert move.reference == move.held.reference == f"channel:{move.held.channel_id}"
    before = one.balance(one.payer.account)
    assert one.broadcast(move).succeeded
    assert one.look(move.held).deposit_units == DOLLAR
    more = shop.run(one.payer.top_up(one.challenge(), move.held, 7))
    assert one.broadcast(more).succeeded
    assert one.look(move.held).deposit_units == DOLLAR + 7
    assert one.balance(one.payer.account) == before - DOLLAR - 7


@VERSIONS
@pytest.mark.guard("T15")
@pytest.mark.spec("TSES-026", "TSES-066")
def test_an_access_key_is_named_as_the_one_who_signs(shop: Shop, version: Version) -> None:
    """It opens for its account, authorized on the way, and its plain signatures are what the chain pays out on."""
    root, access = shop.account(20), PrivateKey(secrets.token_bytes(32))
    authorization = KeyAuthorization(access.address, shop.chain.chain_id, expires_at=int(time.time()) + 3600)
    signed = to_hex(sign_key_authorization(authorization, root))
    one = lane(shop, version, key=access, account=root.address, key_authorization=signed)
    held = one.opened()
    assert (held.payer, held.signer) == (root.address, access.address)
    found = shop.run(read_channel(one.url, one.ref(held)))
    assert (found.payer, found.authorized_signer) == (root.address, access.address)
    assert one.act(SettleCall(one.ref(held), 500, one.payer.sign(held, 500))).succeeded
    more = shop.run(one.payer.top_up(one.challenge(), held, 9))  # the chain knows the key now
    assert one.broadcast(more).succeeded
    assert one.look(held).deposit_units == DOLLAR + 9


@VERSIONS
@pytest.mark.spec("TSES-026")
def test_a_voucher_key_signs_in_place_of_the_account(shop: Shop, version: Version) -> None:
    """By setting; the account's own key still signs for channels that were opened with it."""
    key, voucher_key = shop.account(20), PrivateKey(secrets.token_bytes(32))
    old = lane(shop, version, key=key)
    earlier = old.opened()
    one = replace(old, payer=session_payer(shop, key, voucher_key=voucher_key.secret().hex()))
    held = one.opened()
    assert (held.signer, earlier.signer) == (voucher_key.address, key.address)
    for each in (held, earlier):
        assert one.payer.fits(each, one.terms())
        assert one.act(SettleCall(one.ref(each), 500, one.payer.sign(each, 500))).succeeded
    assert not old.payer.fits(held, old.terms())
    with pytest.raises(UsageError, match="no key of ours"):
        old.payer.sign(held, 600)


@VERSIONS
def test_fees_are_paid_in_a_dollar_of_ones_choice(shop: Shop, version: Version) -> None:
    """The deposit may take all there is of one token."""
    key = shop.account(1)
    shop.chain.fund(key.address, DOLLAR, ALPHA)
    one = lane(shop, version, key=key, fee_token=ALPHA)
    held = one.opened()
    assert (one.look(held).deposit_units, one.balance(key.address)) == (DOLLAR, 0)


@VERSIONS
@pytest.mark.spec("TSES-053")
def test_what_the_account_can_not_pay_is_not_signed(shop: Shop, version: Version) -> None:
    """Neither the deposit, nor the fee on top of it, nor the fee in another token."""
    for dollars, fee_token in ((1, None), (0, None), (1, ALPHA)):
        one = lane(shop, version, key=shop.account(dollars), fee_token=fee_token)
        with pytest.raises(NoPayableOffer, match="needed"):
            one.open()


def test_amounts_that_contradict_each_other_are_the_callers_mistake(shop: Shop) -> None:
    """A deposit under the first voucher or one unit's price, beyond the width, or a top-up of nothing."""
    one = lane(shop, V2)
    for deposit, first in ((24, 0), (100, 101), (100, -1), (2**96, 25)):
        with pytest.raises(UsageError):
            one.open(deposit, first)
    held = one.opened()
    for more in (0, -1, 2**96 - DOLLAR):
        with pytest.raises(UsageError):
            shop.run(one.payer.top_up(one.challenge(), held, more))


@pytest.mark.guard("T24", "T47")
@pytest.mark.parametrize(
    "name", ["amount_units", "recipient", "operator", "asset", "escrow", "min_voucher_delta_units"]
)
def test_a_fresh_challenge_of_other_terms_opens_nothing(shop: Shop, name: str) -> None:
    """What was judged is what is signed, whatever a server asks for the second time."""
    one = lane(shop, V2)
    others: dict[str, Any] = {
        "amount_units": 26,
        "recipient": fresh_address(),
        "operator": fresh_address(),
        "asset": asset_of(42431, ALPHA),
        "escrow": escrow(V1),
        "min_voucher_delta_units": 5,
    }
    judged = one.payer.terms(one.challenge(**{name: others[name]}))
    with pytest.raises(NoPayableOffer, match="agreed to"):
        shop.run(one.payer.open(one.challenge(), judged, DOLLAR, 0))


@pytest.mark.guard("T47")
def test_a_channel_of_another_payee_is_not_topped_up(shop: Shop) -> None:
    """The challenge asks for somebody else than the channel pays: not a unit more goes into it."""
    one = lane(shop, V2)
    held = one.opened()
    for other in (one.challenge(recipient=fresh_address()), one.challenge(operator=fresh_address())):
        with pytest.raises(NoPayableOffer, match="does not pay"):
            shop.run(one.payer.top_up(other, held, 5))


def test_a_node_that_is_away_leaves_nothing_signed(shop: Shop, faulty: FaultyNode) -> None:
    """The caller learns that nothing has moved; a node that asks for any fee gets none."""
    key = shop.account(20)
    one = lane(shop, V2, key=key, rpc_url=faulty.url)
    for method in ("eth_getBlockByNumber", "eth_gasPrice", "eth_call"):
        faulty.heal()
        faulty.on(method, drop)
        with pytest.raises(RpcUnreachable):
            one.open()
    faulty.heal()
    faulty.on("eth_gasPrice", answer(hex(10**12)))
    with pytest.raises(NoPayableOffer, match="max_fee_per_gas"):
        one.open()
    assert not any(method.startswith("eth_send") for method in faulty.calls)


def test_a_challenge_that_is_about_to_end_opens_nothing(shop: Shop) -> None:
    """Nor does a transaction outlive its challenge."""
    one = lane(shop, V2)
    with pytest.raises(NoPayableOffer, match="expired, or is about to"):
        one.open(lives_s=1)
    move = one.open(lives_s=20)
    assert move.dead_after_s <= time.time() + 20


@pytest.mark.guard("T38")
def test_no_key_is_in_a_repr(shop: Shop) -> None:
    """Neither of the payer nor of what it signed."""
    one = lane(shop, V2, voucher_key="5a" * 32)
    move = one.open()
    text = repr(one.payer) + repr(move) + repr(move.held)
    for secret in ("5a" * 32, one.payer.config.wallet.key.secret().hex(), move.payload["signature"][2:], one.url):
        assert secret not in text
    assert isinstance(one.ref(move.held), ChannelRef)
