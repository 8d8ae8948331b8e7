"""Our stand-in for the TIP-1034 channel reserve, on the local chain: every function, event and error.

An independent test implementation: what passes here proves our own code's use of the interface, not the precompile.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from coinslot.chains.evm.abi import encode_uint256, selector
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.devnet.channels.compile import COMPILER, SOURCES, committed_code, runtime_code
from coinslot.devnet.contracts import CHANNEL_CONTRACTS, install
from coinslot.devnet.funding import ISSUER
from coinslot.devnet.node import Node
from coinslot.devnet.reserve import allowance_slot
from coinslot.devnet.tempo import DEVNET
from coinslot.errors import RpcRefused
from coinslot.methods.tempo.session.calls import (
    CloseCall,
    OpenCall,
    RequestCloseCall,
    SettleCall,
    TopUpCall,
    WithdrawCall,
    write_call,
)
from coinslot.methods.tempo.session.channel import channel_ref, encode_descriptor, expiring_nonce_hash
from coinslot.methods.tempo.session.escrow import CHANNEL_RESERVE, V2, pinned_escrow
from coinslot.methods.tempo.session.events import (
    ChannelClosed,
    ChannelOpened,
    CloseRequestCancelled,
    CloseRequested,
    Settled,
    ToppedUp,
)
from coinslot.methods.tempo.session.transaction import opened_channel
from coinslot.methods.tempo.transaction.build import serialise, sign, sign_as_fee_payer
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, Call
from support.channelchain import FEE_TOKEN, PATH_USD, Bench, Opened, Reverted, salt, words
from support.devnet import Chain

pytestmark = pytest.mark.devnet

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
U96 = 2**96 - 1
# Who keeps the lists of addresses that may send or receive a token (TIP-403).
REGISTRY = "0x403c000000000000000000000000000000000000"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A chain of its own: these tests move its clock."""
    escrow = pinned_escrow(V2, 42431)
    assert escrow is not None
    with DEVNET.start() as running:
        yield Bench(Chain(running), escrow)


def state(bench: Bench, channel: Opened) -> tuple[int, ...]:
    """Settled, deposit, close requested at."""
    answer = bench.ask("getChannelState(bytes32)", bytes.fromhex(channel.ref.id[2:]))
    return tuple(int.from_bytes(answer[at : at + 32], "big") for at in range(0, 96, 32))


def high_s(signature: bytes) -> bytes:
    """The other spelling of the same signature."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((27 + 28 - signature[64],))


@pytest.mark.parametrize("name", SOURCES)
def test_the_committed_bytecode_is_what_its_source_compiles_to(name: str) -> None:
    """Compiling the source again gives the committed bytes, and the chain holds exactly those."""
    code = committed_code(name)
    assert code == next(
        each.code for each in CHANNEL_CONTRACTS if each.name.startswith(("TIP", "Tempo")[name == "escrow"])
    )
    if importlib.util.find_spec("vyper") is None:
        pytest.skip(f"vyper {COMPILER} is not installed: pip install vyper=={COMPILER}")
    assert hashlib.sha256(runtime_code(name)).digest() == hashlib.sha256(code).digest()


def test_a_channel_opens_settles_tops_up_and_closes(bench: Bench) -> None:
    """Each step moves exactly its amount and says so in one event; the closed channel leaves nothing behind."""
    channel = bench.open(1_000_000)
    payer, payee = channel.payer, channel.payee
    assert state(bench, channel) == (0, 1_000_000, 0)
    who = (channel.ref.id, payer.address, payee.address)
    assert bench.do(payee, SettleCall(channel.ref, 300, bench.voucher(channel, 300))).events == (
        Settled(*who, cumulative_units=300, delta_units=300, settled_units=300),
    )
    assert bench.do(payer, TopUpCall(channel.ref, 5_000)).events == (
        ToppedUp(*who, additional_units=5_000, deposit_units=1_005_000),
    )
    assert state(bench, channel) == (300, 1_005_000, 0)
    assert bench.do(payee, CloseCall(channel.ref, 900, 500, bench.voucher(channel, 900))).events == (
        ChannelClosed(*who, settled_units=500, refunded_units=1_004_500),
    )
    assert state(bench, channel) == (0, 0, 0)
    assert (bench.holds(payer.address), bench.holds(payee.address)) == (2_000_000 - 500, 500)
    bench.refuses("ChannelNotFound", payee, SettleCall(channel.ref, 400, bench.voucher(channel, 400)))


def test_the_views_say_what_we_compute(bench: Bench) -> None:
    """Channel id, digest, domain, constants, states in a batch and the whole channel are as our own code has them."""
    channel = bench.open(7)
    terms = channel.ref.required_descriptor()
    packed = encode_descriptor(terms)
    assert to_hex(bench.ask("computeChannelId(address,address,address,address,bytes32,address,bytes32)", packed)) == (
        channel.ref.id
    )
    identity = bytes.fromhex(channel.ref.id[2:])
    for units in (0, 1, U96):
        assert bench.ask("getVoucherDigest(bytes32,uint96)", *words(identity, units)) == bench.scheme.digest(
            channel.ref.id, units
        )
    assert bench.ask("domainSeparator()") == bench.scheme.domain
    assert int.from_bytes(bench.ask("CLOSE_GRACE_PERIOD()"), "big") == 900
    assert bench.ask("VOUCHER_TYPEHASH()").hex().startswith("4730b4b2")
    whole = bench.ask("getChannel((address,address,address,address,bytes32,address,bytes32))", packed)
    assert whole == packed + b"".join(words(0, 7, 0))
    batch = bench.ask("getChannelStatesBatch(bytes32[])", *words(32, 2, identity, bytes(32)))
    assert batch == b"".join(words(32, 2, 0, 7, 0, 0, 0, 0))


def test_only_the_payee_and_the_operator_settle_and_close(bench: Bench) -> None:
    """A stranger and the payer are refused, the operator is not, and what it settles goes to the payee."""
    operator, stranger = bench.person(), bench.person()
    channel = bench.open(1000, operator=operator.address)
    signature = bench.voucher(channel, 10)
    for key in (stranger, channel.payer):
        bench.refuses("NotPayeeOrOperator", key, SettleCall(channel.ref, 10, signature))
        bench.refuses("NotPayeeOrOperator", key, CloseCall(channel.ref, 10, 10, signature))
    bench.do(operator, SettleCall(channel.ref, 10, signature))
    bench.do(operator, CloseCall(channel.ref, 30, 20, bench.voucher(channel, 30)))
    assert (bench.holds(channel.payee.address), bench.holds(operator.address)) == (20, 0)


def test_only_the_payer_tops_up_and_asks_to_close(bench: Bench) -> None:
    """Payee and stranger can do neither, nor withdraw."""
    channel, stranger = bench.open(1000), bench.person(1000)
    for key in (stranger, channel.payee):
        for call in (TopUpCall(channel.ref, 1), RequestCloseCall(channel.ref), WithdrawCall(channel.ref)):
            bench.refuses("NotPayer", key, call)


def test_signatures_that_are_not_the_signers_are_refused(bench: Bench) -> None:
    """Another's, one for another amount or channel, a high s, a compact one, a wrapped one: none moves anything."""
    channel, other = bench.open(1000), bench.open(1000)
    good = bench.voucher(channel, 100)
    bad = [
        bench.scheme.sign(other.payer, channel.ref.id, 100),
        bench.voucher(channel, 101),
        bench.scheme.sign(channel.payer, other.ref.id, 100),
        high_s(good),
        good[:64],
        b"",
        b"\x03" + bytes.fromhex(channel.payer.address[2:]) + good,
        b"\x04" + bytes.fromhex(channel.payer.address[2:]) + good,
        good[:64] + b"\x1d",
        bytes(2050),
    ]
    for signature in bad:
        for call in (SettleCall(channel.ref, 100, signature), CloseCall(channel.ref, 100, 100, signature)):
            bench.refuses("InvalidSignature", channel.payee, raw_call(channel, call))
    bench.do(channel.payee, SettleCall(channel.ref, 100, good))


def raw_call(channel: Opened, call: SettleCall | CloseCall) -> Call:
    """The call as written by hand, also with a signature that our own writer would not write."""
    amounts = [call.cumulative_units] + ([call.capture_units] if isinstance(call, CloseCall) else [])
    kind = "97fb5104" if isinstance(call, SettleCall) else "73b57f74"
    head = bytes.fromhex(kind) + encode_descriptor(channel.ref.required_descriptor())
    tail = encode_uint256(len(call.signature)) + call.signature + bytes(-len(call.signature) % 32)
    return Call(CHANNEL_RESERVE, 0, head + b"".join(words(*amounts, 32 * (8 + len(amounts)))) + tail)


def test_an_authorized_signer_signs_instead_of_the_payer(bench: Bench) -> None:
    """With a signer named, its vouchers count, and the payer's own don't."""
    channel = bench.open(1000, signer=PrivateKey(bytes(31) + b"\x07"))
    bench.refuses(
        "InvalidSignature",
        channel.payee,
        SettleCall(channel.ref, 5, bench.scheme.sign(channel.payer, channel.ref.id, 5)),
    )
    bench.do(channel.payee, SettleCall(channel.ref, 5, bench.voucher(channel, 5)))


def test_amounts_out_of_bounds_are_refused(bench: Bench) -> None:
    """Above the deposit, not above what is settled, a capture below settled or above the voucher, an overflow."""
    channel = bench.open(1000)
    payee, ref = channel.payee, channel.ref

    def signed(units: int) -> bytes:
        return bench.voucher(channel, units)

    bench.do(payee, SettleCall(ref, 100, signed(100)))
    bench.refuses("AmountExceedsDeposit", payee, SettleCall(ref, 1001, signed(1001)))
    for units in (100, 99, 0):
        bench.refuses("AmountNotIncreasing", payee, SettleCall(ref, units, signed(units)))
    bench.refuses("CaptureAmountInvalid", payee, CloseCall(ref, 200, 99, signed(200)))
    bench.refuses("CaptureAmountInvalid", payee, raw_call(channel, CloseCall(ref, 200, 201, signed(200))))
    bench.refuses("AmountExceedsDeposit", payee, CloseCall(ref, 2000, 1001, signed(2000)))
    bench.refuses("DepositOverflow", channel.payer, TopUpCall(ref, U96 - 999))
    # a voucher above the deposit is a voucher all the same: up to the deposit it can be captured
    (closed,) = bench.do(payee, CloseCall(ref, 2000, 1000, signed(2000))).events
    assert closed == ChannelClosed(ref.id, channel.payer.address, payee.address, settled_units=1000, refunded_units=0)


@pytest.mark.parametrize("settled", [0, 40])
def test_closing_at_what_is_settled_needs_no_voucher(bench: Bench, settled: int) -> None:
    """The payee lets the payer go without any signature, and everything else is refunded."""
    channel = bench.open(1000)
    if settled:
        bench.do(channel.payee, SettleCall(channel.ref, settled, bench.voucher(channel, settled)))
    bench.do(channel.payee, CloseCall(channel.ref, settled, settled, b""))
    assert bench.holds(channel.payer.address) == 2000 - settled


def test_a_wrong_descriptor_is_another_channel(bench: Bench) -> None:
    """Changing any one member of the descriptor names a channel that does not exist."""
    channel = bench.open(1000)
    terms = channel.ref.required_descriptor()
    for member in ("payer", "payee", "operator", "token", "salt", "authorized_signer", "expiring_nonce_hash"):
        value = getattr(terms, member)
        other = value[:-1] + ("1" if value[-1] != "1" else "2")
        wrong = channel_ref(bench.escrow, replace(terms, **{member: other}))
        bench.refuses("ChannelNotFound", channel.payee, SettleCall(wrong, 1, bench.voucher(channel, 1)))


@pytest.mark.parametrize(
    ("error", "change"),
    [
        ("InvalidPayee", {"payee": ZERO_ADDRESS}),
        ("InvalidPayee", {"payee": FEE_TOKEN}),
        ("InvalidPayee", {"payee": "0x01020304fdfdfdfdfdfdfdfdfdfd010203040506"}),
        ("InvalidToken", {"token": "0x" + "11" * 20}),
        ("InvalidToken", {"token": "0x20c0000000000000000000000000000000ffffff"}),
        ("ZeroDeposit", {"deposit": 0}),
    ],
)
def test_what_is_no_channel_does_not_open(bench: Bench, error: str, change: dict[str, str | int]) -> None:
    """Nobody as payee, a token or forwarding address as payee, no token, nothing in it: refused by name."""
    payer = bench.person(1000)
    given: dict[str, str | int] = {"payee": "0x" + "22" * 20, "token": PATH_USD, "deposit": 5, **change}
    data = bytes.fromhex("edc53b00") + b"".join(
        words(given["payee"], ZERO_ADDRESS, given["token"], given["deposit"], bytes(32), ZERO_ADDRESS)
    )
    bench.refuses(error, payer, Call(CHANNEL_RESERVE, 0, data))


def test_a_payer_without_the_tokens_does_not_open(bench: Bench) -> None:
    """No approval is asked for, but a balance is."""
    payer = bench.person(4)
    call = OpenCall("0x" + "22" * 20, PATH_USD, 5, salt())
    with pytest.raises(Reverted):
        bench.do(payer, call)
    assert bench.holds(payer.address) == 4


def test_one_transaction_opens_several_channels_but_none_twice(bench: Bench) -> None:
    """Calls of one transaction share its hash: other salts make other channels, the same salt is refused."""
    payer = bench.person(100)
    one, two = (OpenCall("0x" + "22" * 20, PATH_USD, 5, salt()) for _ in range(2))
    opened = bench.send(payer, write_call(bench.escrow, one), write_call(bench.escrow, two)).events
    assert len({event.channel_id for event in opened}) == 2
    assert len({event.expiring_nonce_hash for event in opened if isinstance(event, ChannelOpened)}) == 1
    with pytest.raises(Reverted):
        bench.send(payer, write_call(bench.escrow, one), write_call(bench.escrow, one))
    assert bench.holds(payer.address) == 90


def node_of(bench: Bench) -> Node:
    """The node itself, behind the door that would tell the reserve."""
    return Node(bench.chain.running._anvil.wait_port())


def test_a_channel_closed_in_its_own_transaction_does_not_open_again_in_it(bench: Bench) -> None:
    """Open, close, open of the same terms in one transaction ends with ChannelAlreadyExists for the last."""
    key, node, context = bench.person(100), node_of(bench), "0x" + "ab" * 32
    call = OpenCall(key.address, PATH_USD, 5, salt())
    opening = write_call(bench.escrow, call)
    tx = bench.unsigned((opening,))
    terms = opened_channel(bench.escrow, call, tx, key.address).required_descriptor()
    ref = channel_ref(bench.escrow, replace(terms, expiring_nonce_hash=context))
    closing = write_call(bench.escrow, CloseCall(ref, 0, 0, b""))
    for calls, status in (((opening, closing, opening), "0x0"), ((opening, closing), "0x1")):
        # as the door does it, but with a hash that the calls can name
        node.call("anvil_setStorageAt", CHANNEL_RESERVE, "0x" + "0" * 64, context)
        node.call("anvil_setStorageAt", PATH_USD, allowance_slot(key.address), "0x" + "f" * 64)
        raw = to_hex(serialise(sign(bench.unsigned(calls), key)))
        receipt = node.call("eth_sendRawTransactionSync", raw)
        assert isinstance(receipt, dict)
        assert receipt["status"] == status
    node.call("anvil_setStorageAt", CHANNEL_RESERVE, "0x" + "0" * 64, "0x" + "0" * 64)
    node.close()


def test_without_a_transactions_hash_nothing_opens(bench: Bench) -> None:
    """Asked behind the door's back, the reserve says that it knows no transaction."""
    payer, node = bench.person(100), node_of(bench)
    call = write_call(bench.escrow, OpenCall("0x" + "22" * 20, PATH_USD, 5, salt()))
    with pytest.raises(RpcRefused) as refused:
        node.call("eth_call", {"from": payer.address, "to": call.to, "input": to_hex(call.data)}, "latest")
    assert refused.value.data == to_hex(selector("ExpiringNonceHashNotSet()"))
    node.close()


def test_the_door_leaves_neither_hash_nor_allowance_behind(bench: Bench) -> None:
    """After an open, and after one that failed, the reserve's first slot and the payer's allowance are empty."""
    channel = bench.open(1000)
    bench.refuses("DepositOverflow", channel.payer, TopUpCall(channel.ref, U96))
    for place, slot in ((CHANNEL_RESERVE, "0x0"), (PATH_USD, allowance_slot(channel.payer.address))):
        assert int(str(bench.chain.rpc("eth_getStorageAt", place, slot, "latest")), 16) == 0


def test_a_sponsored_open_is_named_before_the_sponsor_signs(bench: Bench) -> None:
    """The hash leaves out the sponsor and its fee token, so the payer's own id is the one on the chain."""
    payer, sponsor = PrivateKey(bytes(31) + b"\x09"), bench.person()
    bench.chain.fund(payer.address, 1000)
    call = OpenCall("0x" + "22" * 20, PATH_USD, 1000, salt())
    calls = (write_call(bench.escrow, call),)
    tx = sign(bench.unsigned(calls, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER), payer)
    named = expiring_nonce_hash(tx, payer.address)
    full = sign_as_fee_payer(tx, sponsor, sender=payer.address, fee_token=FEE_TOKEN)
    (event,) = bench.outcome(payer.address, calls, bench.submit(serialise(full))).events
    assert isinstance(event, ChannelOpened)
    assert event.expiring_nonce_hash == named == expiring_nonce_hash(full, payer.address)


def test_who_may_not_send_or_receive_the_token_can_not_do_so_by_a_channel(bench: Bench) -> None:
    """A payer on the token's blacklist is not settled from, a payee on it gets no deposit, and refunds still flow."""
    channel, blocked = bench.open(1000), bench.open(1000)
    node, before = node_of(bench), bench.chain.snapshot()
    policy = int(str(node.call("eth_call", {"to": REGISTRY, "data": to_hex(selector("policyIdCounter()"))})), 16)
    make = selector("createPolicyWithAccounts(address,uint8,address[])")
    listed = words(ISSUER, 1, 96, 2, blocked.payer.address, channel.payee.address)
    change = selector("changeTransferPolicyId(uint64)") + encode_uint256(policy)
    for to, data in ((REGISTRY, make + b"".join(listed)), (PATH_USD, change)):
        sent = node.call("eth_sendTransaction", {"from": ISSUER, "to": to, "data": to_hex(data), "gas": hex(8_000_000)})
        node.call("evm_mine")
        receipt = node.call("eth_getTransactionReceipt", sent)
        assert isinstance(receipt, dict)
        assert receipt["status"] == "0x1"
    bench.refuses("PolicyForbids", blocked.payee, SettleCall(blocked.ref, 9, bench.voucher(blocked, 9)))
    bench.refuses("PolicyForbids", blocked.payee, CloseCall(blocked.ref, 9, 9, bench.voucher(blocked, 9)))
    bench.refuses("PolicyForbids", channel.payer, TopUpCall(channel.ref, 9))
    bench.refuses("PolicyForbids", channel.payer, OpenCall(channel.payee.address, PATH_USD, 9, salt()))
    bench.do(channel.payee, CloseCall(channel.ref, 0, 0, b""))
    assert bench.holds(channel.payer.address) == 2000
    bench.chain.revert(before)
    node.close()


def test_a_call_that_only_simulates_needs_no_help(bench: Bench) -> None:
    """eth_call, eth_estimateGas, eth_fillTransaction and eth_simulateV1 of an open answer, and change nothing."""
    payer = bench.person(1000)
    call = write_call(bench.escrow, OpenCall("0x" + "22" * 20, PATH_USD, 5, salt()))
    request = {"from": payer.address, "to": call.to, "input": to_hex(call.data)}
    assert len(str(bench.chain.rpc("eth_call", request, "latest"))) == 66
    estimate = int(str(bench.chain.rpc("eth_estimateGas", request)), 16)
    filled = bench.chain.rpc("eth_fillTransaction", request)
    assert isinstance(filled, dict)
    assert int(filled["tx"]["gas"], 16) >= estimate * 9 // 10 > 400_000
    blocks = bench.chain.rpc("eth_simulateV1", {"blockStateCalls": [{"calls": [request]}]}, "latest")
    assert isinstance(blocks, list)
    assert blocks[0]["calls"][0]["status"] == "0x1"
    assert bench.holds(payer.address) == 1000


def test_after_a_close_request_the_payer_waits_fifteen_minutes(bench: Bench) -> None:
    """One second early is refused, at 900 seconds the rest goes back, and asking twice does not restart the clock."""
    channel = bench.open(1000)
    bench.do(channel.payee, SettleCall(channel.ref, 30, bench.voucher(channel, 30)))
    bench.refuses("CloseNotReady", channel.payer, WithdrawCall(channel.ref))
    (asked,) = bench.do(channel.payer, RequestCloseCall(channel.ref)).events
    assert isinstance(asked, CloseRequested)
    assert asked.withdrawable_at == state(bench, channel)[2] + 900
    bench.refuses("CloseNotReady", channel.payer, WithdrawCall(channel.ref))
    bench.later(60)
    assert bench.do(channel.payer, RequestCloseCall(channel.ref)).events == ()
    assert state(bench, channel)[2] == asked.withdrawable_at - 900
    withdrawing = write_call(bench.escrow, WithdrawCall(channel.ref))
    request = {"from": channel.payer.address, "to": withdrawing.to, "input": to_hex(withdrawing.data)}
    with pytest.raises(RpcRefused) as refused:
        bench.chain.rpc("eth_call", request, "latest", {}, {"time": hex(asked.withdrawable_at - 1)})
    assert refused.value.data == to_hex(selector("CloseNotReady()"))
    bench.chain.rpc("eth_call", request, "latest", {}, {"time": hex(asked.withdrawable_at)})
    bench.later(840)
    (closed,) = bench.do(channel.payer, WithdrawCall(channel.ref)).events
    assert isinstance(closed, ChannelClosed)
    assert (closed.settled_units, closed.refunded_units) == (30, 970)
    assert bench.holds(channel.payer.address) == 1970


def test_within_the_grace_period_the_payee_still_settles_and_closes(bench: Bench) -> None:
    """A close request takes nothing from the payee before its time is over, nor after, until the payer withdraws."""
    channel = bench.open(1000)
    bench.do(channel.payer, RequestCloseCall(channel.ref))
    bench.do(channel.payee, SettleCall(channel.ref, 30, bench.voucher(channel, 30)))
    bench.later(901)
    bench.do(channel.payee, CloseCall(channel.ref, 50, 50, bench.voucher(channel, 50)))
    assert bench.holds(channel.payee.address) == 50
    bench.refuses("ChannelNotFound", channel.payer, WithdrawCall(channel.ref))


@pytest.mark.parametrize("units", [0, 25])
def test_a_top_up_takes_a_close_request_back(bench: Bench, units: int) -> None:
    """Also one of nothing; and one of nothing without a request says and changes nothing."""
    channel = bench.open(1000)
    # our own writer refuses a top-up of nothing only when it builds a whole transaction
    assert bench.do(channel.payer, TopUpCall(channel.ref, 0)).events == ()
    bench.do(channel.payer, RequestCloseCall(channel.ref))
    cancelled, topped = bench.do(channel.payer, TopUpCall(channel.ref, units)).events
    assert isinstance(cancelled, CloseRequestCancelled)
    assert isinstance(topped, ToppedUp)
    assert state(bench, channel) == (0, 1000 + units, 0)
    bench.later(901)
    bench.refuses("CloseNotReady", channel.payer, WithdrawCall(channel.ref))


def test_opens_of_many_payers_at_once_keep_their_own_hashes(bench: Bench) -> None:
    """Eight payers open at the same time over connections of their own; each channel has its own transaction's hash."""
    payers = [bench.person(100) for _ in range(8)]
    found: list[bool] = []

    def one(key: PrivateKey) -> None:
        node = Node(int(bench.chain.rpc_url.rpartition(":")[2]))
        call = OpenCall("0x" + "22" * 20, PATH_USD, 5, salt())
        tx = bench.unsigned((write_call(bench.escrow, call),))
        receipt = node.call("eth_sendRawTransactionSync", to_hex(serialise(sign(tx, key))))
        assert isinstance(receipt, dict)
        logs = [log for log in receipt["logs"] if log["address"].lower() == CHANNEL_RESERVE]
        found.append(expiring_nonce_hash(tx, key.address)[2:] in logs[0]["data"])
        node.close()

    threads = [threading.Thread(target=one, args=(key,)) for key in payers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_gas_stays_within_what_clients_allow(bench: Bench) -> None:
    """Opening a channel costs less than the million that clients allow by default, later steps a seventh."""
    payer, channel = bench.person(100), bench.open(1000)
    opened = bench.do(payer, OpenCall("0x" + "33" * 20, PATH_USD, 5, salt())).gas
    first = bench.do(channel.payee, SettleCall(channel.ref, 3, bench.voucher(channel, 3))).gas
    settled = bench.do(channel.payee, SettleCall(channel.ref, 4, bench.voucher(channel, 4))).gas
    topped = bench.do(channel.payer, TopUpCall(channel.ref, 5)).gas
    closed = bench.do(channel.payee, CloseCall(channel.ref, 9, 9, bench.voucher(channel, 9))).gas
    print(f"open {opened}, first settle {first}, settle {settled}, top up {topped}, close {closed}")
    assert opened < 1_000_000
    assert max(settled, topped, closed) < 150_000


def test_a_start_with_contracts_stays_quick() -> None:
    """Installing both contracts takes milliseconds, not a share of a second; where a machine is busy, at its best."""
    took = []
    with DEVNET.start() as running:
        node = Node(running._anvil.wait_port())
        for _ in range(5):
            began = time.perf_counter()
            install(node, running.chain_id)
            took.append(time.perf_counter() - began)
        node.close()
    assert min(took) < 0.2
