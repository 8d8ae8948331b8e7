"""Our stand-in for the v1 escrow (TempoStreamChannel), on the local chain: every function, event and error.

An independent test implementation: what passes here proves our own code's use of the interface, not the deployed
contract.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coinslot.chains.evm.abi import encode_uint256, selector
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.signature import PrivateKey
from coinslot.devnet.channels.compile import committed_code
from coinslot.devnet.tempo import DEVNET
from coinslot.errors import RpcRefused
from coinslot.methods.tempo.session.calls import (
    CloseCall,
    OpenCall,
    RequestCloseCall,
    SettleCall,
    TopUpCall,
    WithdrawCall,
    approve_call,
    write_call,
)
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, pinned_escrow
from coinslot.methods.tempo.session.events import (
    ChannelClosed,
    CloseRequestCancelled,
    CloseRequested,
    Settled,
    ToppedUp,
)
from coinslot.methods.tempo.session.transaction import OPEN_GAS
from coinslot.methods.tempo.transaction.fields import Call
from support.channelchain import PATH_USD, Bench, Opened, Reverted, salt, words
from support.devnet import Chain

pytestmark = pytest.mark.devnet

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
U128 = 2**128 - 1


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A chain of its own: these tests move its clock."""
    escrow = pinned_escrow(V1, 42431)
    assert escrow is not None
    with DEVNET.start() as running:
        yield Bench(Chain(running), escrow)


def kept(bench: Bench, channel: Opened) -> tuple[int, ...]:
    """Finalized, close requested at, deposit, settled."""
    answer = bench.ask("getChannel(bytes32)", bytes.fromhex(channel.ref.id[2:]))
    row = [int.from_bytes(answer[at : at + 32], "big") for at in range(0, 256, 32)]
    return row[0], row[1], row[6], row[7]


def by_hand(channel: Opened, name: str, units: int, signature: bytes) -> Call:
    """settle or close with any bytes as signature."""
    head = selector(f"{name}(bytes32,uint128,bytes)") + bytes.fromhex(channel.ref.id[2:])
    tail = b"".join(words(units, 96, len(signature))) + signature + bytes(-len(signature) % 32)
    return Call(channel.ref.escrow.address, 0, head + tail)


def compact(signature: bytes) -> bytes:
    """The 64 bytes of EIP-2098."""
    return signature[:32] + bytes((signature[32] | (signature[64] - 27) << 7,)) + signature[33:64]


def test_it_stands_at_the_pinned_address_of_both_networks(bench: Bench) -> None:
    """Also on a local chain with the main network's id."""
    assert bench.chain.rpc("eth_getCode", bench.escrow.address, "latest") == to_hex(committed_code("escrow"))
    main = pinned_escrow(V1, 4217)
    assert main is not None
    with DEVNET.start(chain_id=4217) as running:
        assert running.rpc("eth_getCode", main.address, "latest") == to_hex(committed_code("escrow"))


def test_a_channel_opens_settles_tops_up_and_closes(bench: Bench) -> None:
    """Each step moves exactly its amount and says so in one event; the closed channel stays, finalized."""
    channel = bench.open(1_000_000)
    payer, payee, ref = channel.payer, channel.payee, channel.ref
    who = (ref.id, payer.address, payee.address)
    assert bench.do(payee, SettleCall(ref, 300, bench.voucher(channel, 300))).events == (
        Settled(*who, cumulative_units=300, delta_units=300, settled_units=300),
    )
    assert bench.do(payer, TopUpCall(ref, 5_000)).events == (
        ToppedUp(*who, additional_units=5_000, deposit_units=1_005_000),
    )
    assert bench.do(payee, CloseCall(ref, 500, 500, bench.voucher(channel, 500))).events == (
        ChannelClosed(*who, settled_units=500, refunded_units=1_004_500),
    )
    assert kept(bench, channel) == (1, 0, 1_005_000, 500)
    assert (bench.holds(payer.address), bench.holds(payee.address)) == (2_000_000 - 500, 500)


def test_a_finalized_channel_does_nothing_more(bench: Bench) -> None:
    """Every function that changes something says ChannelFinalized, and the same terms don't open again."""
    channel = bench.open(1000)
    bench.do(channel.payee, CloseCall(channel.ref, 0, 0, b""))
    signature = bench.voucher(channel, 5)
    for key, call in (
        (channel.payee, SettleCall(channel.ref, 5, signature)),
        (channel.payee, CloseCall(channel.ref, 5, 5, signature)),
        (channel.payer, TopUpCall(channel.ref, 5)),
        (channel.payer, RequestCloseCall(channel.ref)),
        (channel.payer, WithdrawCall(channel.ref)),
    ):
        bench.refuses("ChannelFinalized", key, call)


def test_the_same_terms_open_once(bench: Bench) -> None:
    """While open and after the close: its id is taken for ever."""
    payer, payee = bench.person(1000), bench.person()
    call = OpenCall(payee.address, PATH_USD, 5, salt())
    opening = write_call(bench.escrow, call)
    (event,) = bench.send(payer, approve_call(PATH_USD, bench.escrow.address, 1000), opening).events
    bench.refuses("ChannelAlreadyExists", payer, call)
    bench.do(payee, CloseCall(ChannelRef(bench.escrow, event.channel_id), 0, 0, b""))
    bench.refuses("ChannelAlreadyExists", payer, call)


def test_an_unknown_channel_is_not_found(bench: Bench) -> None:
    """Whatever is asked of it."""
    ref, key = ChannelRef(bench.escrow, "0x" + "ab" * 32), bench.person()
    for call in (
        SettleCall(ref, 5, bytes(65)),
        CloseCall(ref, 5, 5, bytes(65)),
        TopUpCall(ref, 5),
        RequestCloseCall(ref),
        WithdrawCall(ref),
    ):
        bench.refuses("ChannelNotFound", key, call)


def test_the_views_say_what_we_compute(bench: Bench) -> None:
    """Channel id, digest, domain, constants, one channel and several are as our own code has them."""
    channel = bench.open(7)
    identity = bytes.fromhex(channel.ref.id[2:])
    for units in (0, 1, U128):
        assert bench.ask("getVoucherDigest(bytes32,uint128)", *words(identity, units)) == bench.scheme.digest(
            channel.ref.id, units
        )
    assert bench.ask("domainSeparator()") == bench.scheme.domain
    assert int.from_bytes(bench.ask("CLOSE_GRACE_PERIOD()"), "big") == 900
    assert bench.ask("VOUCHER_TYPEHASH()") == keccak256(V1.voucher_type.encode())
    row = b"".join(words(0, 0, channel.payer.address, channel.payee.address, PATH_USD, ZERO_ADDRESS, 7, 0))
    assert bench.ask("getChannel(bytes32)", identity) == bench.ask("channels(bytes32)", identity) == row
    assert bench.ask("getChannelsBatch(bytes32[])", *words(32, 2, identity, bytes(32))) == (
        b"".join(words(32, 2)) + row + bytes(256)
    )
    terms = words(channel.payer.address, channel.payee.address, PATH_USD, bytes(31) + b"\x05", ZERO_ADDRESS)
    assert bench.ask("computeChannelId(address,address,address,bytes32,address)", *terms) == keccak256(
        b"".join((*terms, *words(bench.escrow.address, 42431)))
    )
    domain = bench.ask("eip712Domain()")
    assert domain[0] == 0x0F
    assert b"Tempo Stream Channel" in domain
    assert encode_uint256(42431) in domain


def test_each_function_is_for_its_party_only(bench: Bench) -> None:
    """Settle and close for the payee; top up, request and withdraw for the payer."""
    channel, stranger = bench.open(1000), bench.person(1000)
    signature = bench.voucher(channel, 5)
    for key in (stranger, channel.payer):
        bench.refuses("NotPayee", key, SettleCall(channel.ref, 5, signature))
        bench.refuses("NotPayee", key, CloseCall(channel.ref, 5, 5, signature))
    for key in (stranger, channel.payee):
        for call in (TopUpCall(channel.ref, 1), RequestCloseCall(channel.ref), WithdrawCall(channel.ref)):
            bench.refuses("NotPayer", key, call)


def test_signatures_that_are_not_the_signers_are_refused(bench: Bench) -> None:
    """Another's, one for another amount or channel, a high s, a v of 0 or 29, a wrong length: none moves anything."""
    channel, other = bench.open(1000), bench.open(1000)
    good = bench.voucher(channel, 100)
    s = ORDER - int.from_bytes(good[32:64], "big")
    bad = [
        bench.scheme.sign(other.payer, channel.ref.id, 100),
        bench.voucher(channel, 101),
        bench.scheme.sign(channel.payer, other.ref.id, 100),
        good[:32] + s.to_bytes(32, "big") + bytes((55 - good[64],)),
        good[:64] + bytes((good[64] - 27,)),
        good[:64] + b"\x1d",
        good[:63],
        good + b"\x00",
        bytes(65),
        b"",
    ]
    for signature in bad:
        for name in ("settle", "close"):
            bench.refuses("InvalidSignature", channel.payee, by_hand(channel, name, 100, signature))
    # the document names the compact form as well
    bench.send(channel.payee, by_hand(channel, "settle", 100, compact(good)))
    assert bench.holds(channel.payee.address) == 100


def test_an_authorized_signer_signs_instead_of_the_payer(bench: Bench) -> None:
    """With a signer named, its vouchers count, and the payer's own don't."""
    channel = bench.open(1000, signer=PrivateKey(bytes(31) + b"\x07"))
    payers = bench.scheme.sign(channel.payer, channel.ref.id, 5)
    bench.refuses("InvalidSignature", channel.payee, SettleCall(channel.ref, 5, payers))
    bench.do(channel.payee, SettleCall(channel.ref, 5, bench.voucher(channel, 5)))


def test_amounts_out_of_bounds_are_refused(bench: Bench) -> None:
    """Above the deposit, not above what is settled, a deposit that overflows."""
    channel = bench.open(1000)
    payee, ref = channel.payee, channel.ref
    bench.do(payee, SettleCall(ref, 100, bench.voucher(channel, 100)))
    for units in (100, 99, 0):
        bench.refuses("AmountNotIncreasing", payee, SettleCall(ref, units, bench.voucher(channel, units)))
    much = bench.voucher(channel, 1001)
    bench.refuses("AmountExceedsDeposit", payee, SettleCall(ref, 1001, much))
    bench.refuses("AmountExceedsDeposit", payee, CloseCall(ref, 1001, 1001, much))
    bench.refuses("DepositOverflow", channel.payer, TopUpCall(ref, U128 - 999))


def test_what_is_no_channel_does_not_open(bench: Bench) -> None:
    """Nobody as payee is refused by name; without an approval the token itself refuses."""
    payer = bench.person(1000)
    opening = "open(address,address,uint128,bytes32,address)"
    data = selector(opening) + b"".join(words(ZERO_ADDRESS, PATH_USD, 5, bytes(32), ZERO_ADDRESS))
    bench.refuses("InvalidPayee", payer, Call(bench.escrow.address, 0, data))
    with pytest.raises(Reverted):
        bench.do(payer, OpenCall("0x" + "22" * 20, PATH_USD, 5, salt()))
    assert bench.holds(payer.address) == 1000


@pytest.mark.parametrize("settled", [0, 40])
def test_closing_at_what_is_settled_needs_no_voucher(bench: Bench, settled: int) -> None:
    """The payee lets the payer go without any signature, and everything else is refunded."""
    channel = bench.open(1000)
    if settled:
        bench.do(channel.payee, SettleCall(channel.ref, settled, bench.voucher(channel, settled)))
    bench.do(channel.payee, CloseCall(channel.ref, settled, settled, b""))
    assert bench.holds(channel.payer.address) == 2000 - settled


def test_after_a_close_request_the_payer_waits_fifteen_minutes(bench: Bench) -> None:
    """One second early is refused, at 900 seconds the rest goes back, and asking twice does not restart the clock."""
    channel = bench.open(1000)
    bench.do(channel.payee, SettleCall(channel.ref, 30, bench.voucher(channel, 30)))
    bench.refuses("CloseNotReady", channel.payer, WithdrawCall(channel.ref))
    (asked,) = bench.do(channel.payer, RequestCloseCall(channel.ref)).events
    assert isinstance(asked, CloseRequested)
    assert kept(bench, channel) == (0, asked.withdrawable_at - 900, 1000, 30)
    bench.later(60)
    assert bench.do(channel.payer, RequestCloseCall(channel.ref)).events == ()
    withdrawing = write_call(bench.escrow, WithdrawCall(channel.ref))
    request = {"from": channel.payer.address, "to": withdrawing.to, "input": to_hex(withdrawing.data)}
    with pytest.raises(RpcRefused) as refused:
        bench.chain.rpc("eth_call", request, "latest", {}, {"time": hex(asked.withdrawable_at - 1)})
    assert refused.value.data == to_hex(selector("CloseNotReady()"))
    bench.chain.rpc("eth_call", request, "latest", {}, {"time": hex(asked.withdrawable_at)})
    bench.later(840)
    before = bench.chain.rpc("eth_blockNumber")
    closed = bench.do(channel.payer, WithdrawCall(channel.ref)).events[-1]
    assert isinstance(closed, ChannelClosed)
    assert (closed.settled_units, closed.refunded_units) == (30, 970)
    expired = to_hex(keccak256(b"ChannelExpired(bytes32,address,address)"))
    logs = bench.chain.rpc("eth_getLogs", {"fromBlock": before, "topics": [expired, channel.ref.id]})
    assert isinstance(logs, list)
    assert len(logs) == 1
    assert kept(bench, channel)[0] == 1
    assert bench.holds(channel.payer.address) == 1970


@pytest.mark.parametrize("units", [0, 25])
def test_a_top_up_takes_a_close_request_back(bench: Bench, units: int) -> None:
    """Also one of nothing."""
    channel = bench.open(1000)
    bench.do(channel.payer, RequestCloseCall(channel.ref))
    events = bench.do(channel.payer, TopUpCall(channel.ref, units)).events
    assert [type(event) for event in events] == ([ToppedUp] if units else []) + [CloseRequestCancelled]
    assert kept(bench, channel) == (0, 0, 1000 + units, 0)
    bench.later(901)
    bench.refuses("CloseNotReady", channel.payer, WithdrawCall(channel.ref))


def test_an_estimate_covers_every_call_of_a_transaction(bench: Bench) -> None:
    """Clients that sign with the gas that the node tells can open: approval and opening are both in it."""
    payer = bench.person(100)
    approval = approve_call(PATH_USD, bench.escrow.address, 5)
    opening = write_call(bench.escrow, OpenCall("0x" + "44" * 20, PATH_USD, 5, salt()))
    calls = [{"to": each.to, "value": "0x", "data": to_hex(each.data)} for each in (approval, opening)]
    request = {"from": payer.address, "calls": calls, "type": "0x76", "feeToken": PATH_USD}
    estimate = int(str(bench.chain.rpc("eth_estimateGas", request)), 16)
    filled = bench.chain.rpc("eth_fillTransaction", request)
    assert isinstance(filled, dict)
    used = bench.send(payer, approval, opening).gas
    assert used <= estimate < 3 * used
    assert int(filled["tx"]["gas"], 16) >= used


def test_gas_stays_within_what_clients_allow(bench: Bench) -> None:
    """Opening with its approval fits the gas that we sign for, and so do the later steps."""
    channel, payer = bench.open(1000), bench.person(100)
    approval = approve_call(PATH_USD, bench.escrow.address, 5)
    opened = bench.send(payer, approval, write_call(bench.escrow, OpenCall("0x" + "33" * 20, PATH_USD, 5, salt()))).gas
    bench.do(channel.payee, SettleCall(channel.ref, 3, bench.voucher(channel, 3)))
    settled = bench.do(channel.payee, SettleCall(channel.ref, 4, bench.voucher(channel, 4))).gas
    topped = bench.do(channel.payer, TopUpCall(channel.ref, 5)).gas
    closed = bench.do(channel.payee, CloseCall(channel.ref, 9, 9, bench.voucher(channel, 9))).gas
    print(f"approve and open {opened}, settle {settled}, top up {topped}, close {closed}")
    assert opened < OPEN_GAS[V1.name]
    assert max(settled, topped) < 150_000
    assert closed < 500_000  # it writes one new slot
