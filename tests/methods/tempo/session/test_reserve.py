"""Reading channels from a chain, and believing it only where receipt, event and state agree.

The escrow here is a few bytes of code on the real chain that answers every question with its storage, so that each
state, also one that no honest escrow could be in, is a real answer of a real node.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.rpc import Log, Receipt
from coinslot.errors import (
    ChannelFinalized,
    ChannelNotFound,
    RpcUnreachable,
    UsageError,
    VerificationFailed,
)
from coinslot.methods.tempo.session import reserve
from coinslot.methods.tempo.session.channel import ChannelRef, channel_ref
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow, Version
from coinslot.methods.tempo.session.events import ChannelClosed
from coinslot.methods.tempo.session.reserve import (
    ChannelState,
    confirm_closed,
    confirm_opened,
    confirm_settled,
    confirm_topped_up,
    read_channel,
    read_states,
)
from support.devnet import Chain
from support.rpcfault import FaultyNode, answer, drop, edit
from support.tempochannel import KEY, OPERATOR, PATH, PAYEE, descriptor, event_log
from support.temposhop import Shop

pytestmark = pytest.mark.devnet
VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
V1_ID = "0x" + "55" * 32


def parrot(words: int) -> str:
    """Code that answers with its first storage slots, whatever it is asked."""
    loads = "".join(f"60{slot:02x}5461{slot * 32:04x}52" for slot in range(words))
    return f"0x{loads}61{words * 32:04x}6000f3"


@dataclass
class Parrot:
    """An escrow on the chain that says what it was taught, and the receipts of what it did."""

    chain: Chain
    version: Version
    address: str = field(default_factory=lambda: "0x" + secrets.token_hex(20))

    @property
    def escrow(self) -> Escrow:
        """As the code under test names it."""
        return Escrow(self.version, 42431, self.address)

    @property
    def channel(self) -> ChannelRef:
        """Its one channel."""
        return ChannelRef(self.escrow, V1_ID) if self.version == V1 else channel_ref(self.escrow, descriptor())

    def says(self, *words: int | str) -> int:
        """Teach it these words; the number of the block from which on it says them."""
        self.chain.rpc("anvil_setCode", self.address, parrot(len(words)))
        for slot, word in enumerate(words):
            value = int(word, 16) if isinstance(word, str) else word
            self.chain.rpc("anvil_setStorageAt", self.address, f"0x{slot:064x}", f"0x{value:064x}")
        told = self.chain.mine()
        self.chain.mine()  # what is taught next must not change this block's state
        return told

    def holds(self, deposit: int, settled: int = 0, closing: int = 0, *, finalized: bool = False) -> int:
        """Teach it a state of its channel."""
        if self.version == V1:
            return self.says(int(finalized), closing, KEY.address, PAYEE, PATH, KEY.address, deposit, settled)
        return self.says(settled, deposit, closing)

    def event(self, name: str, *amounts: int) -> Log:
        """An event about its channel."""
        uint = "uint256" if self.version == V1 else "uint96"
        if name != "ChannelOpened":
            return event_log(self.escrow, self.channel.id, name, ",".join([uint] * len(amounts)), *amounts)
        salt = bytes(32)
        if self.version == V1:
            kinds = "address,address,bytes32,uint256"
            return event_log(self.escrow, self.channel.id, name, kinds, PATH, KEY.address, salt, *amounts)
        kinds = "address,address,address,bytes32,bytes32,uint96"
        return event_log(self.escrow, self.channel.id, name, kinds, OPERATOR, PATH, KEY.address, salt, salt, *amounts)

    def receipt(self, block: int, *logs: Log) -> Receipt:
        """The receipt of a transaction in a block."""
        told = self.chain.rpc("eth_getBlockByNumber", hex(block), False)
        assert isinstance(told, dict)
        return Receipt("0x" + "12" * 32, True, block, told["hash"], KEY.address, logs)


@pytest.fixture
def parrots(devnet: Chain) -> Any:
    """Makes one."""
    return lambda version: Parrot(devnet, version)


@VERSIONS
@pytest.mark.spec("TSES-096", "TSES-097", "TSES-130")
def test_a_channel_is_read_with_its_signer(shop: Shop, parrots: Any, version: Version) -> None:
    """Amounts, sides, and whose vouchers count, from the chain; at a block if one is named."""
    parrot = parrots(version)
    before = parrot.holds(1000, 100)
    parrot.holds(1000, 300, 7)
    found = shop.run(read_channel(shop.chain.rpc_url, parrot.channel))
    assert found.state == ChannelState(1000, 300, 7, False)
    assert (found.payer, found.payee, found.token, found.signer) == (KEY.address, PAYEE, PATH, KEY.address)
    assert found.operator == (ZERO_ADDRESS if version == V1 else OPERATOR)
    assert found.state.withdrawable_at == 907
    then = shop.run(read_channel(shop.chain.rpc_url, parrot.channel, block=before))
    assert then.state == ChannelState(1000, 100, 0, False)


@VERSIONS
@pytest.mark.spec("TSES-097")
def test_a_channel_that_is_not_there_is_not_found(shop: Shop, parrots: Any, version: Version) -> None:
    """An escrow answers zeros for ids that it doesn't know; where there is no code at all, nothing answers."""
    parrot = parrots(version)
    with pytest.raises(RpcUnreachable):
        shop.run(read_channel(shop.chain.rpc_url, parrot.channel))
    parrot.says(*[0] * (8 if version == V1 else 3))
    with pytest.raises(ChannelNotFound):
        shop.run(read_channel(shop.chain.rpc_url, parrot.channel))


@VERSIONS
def test_states_that_can_not_be_are_no_answer(shop: Shop, parrots: Any, version: Version) -> None:
    """More settled than deposited, amounts and times out of range, too few or too many words."""
    parrot = parrots(version)
    for deposit, settled, closing in ((10, 11, 0), (version.max_units + 1, 0, 0), (10, 0, 2**64)):
        parrot.holds(deposit, settled, closing)
        with pytest.raises(RpcUnreachable, match="state"):
            shop.run(read_channel(shop.chain.rpc_url, parrot.channel))
    for words in ([1] * 2, [0] * 9):
        parrot.says(*words)
        with pytest.raises(RpcUnreachable):
            shop.run(read_channel(shop.chain.rpc_url, parrot.channel))


@VERSIONS
def test_many_states_are_read_at_once(shop: Shop, parrots: Any, version: Version) -> None:
    """In the order of the ids; another number of them is no answer."""
    parrot, ids = parrots(version), [V1_ID, "0x" + "66" * 32]
    rows = [[0, 5, 0, 0, 0, 0, 10, 3], [1, 0, 0, 0, 0, 0, 20, 20]] if version == V1 else [[3, 10, 5], [0, 0, 0]]
    parrot.says(32, 2, *rows[0], *rows[1])
    last = ChannelState(20, 20, 0, True) if version == V1 else ChannelState(0, 0, 0, False)
    url = shop.chain.rpc_url
    assert shop.run(read_states(url, parrot.escrow, ids)) == (ChannelState(10, 3, 5, False), last)
    assert last.exists == (version == V1)
    with pytest.raises(RpcUnreachable):
        shop.run(read_states(url, parrot.escrow, ids[:1]))
    with pytest.raises(UsageError):
        shop.run(read_states(url, parrot.escrow, ids * 51))


@VERSIONS
@pytest.mark.guard("F12")
@pytest.mark.spec("TSES-095", "TSES-096")
def test_an_open_is_confirmed_at_its_own_block(shop: Shop, parrots: Any, version: Version) -> None:
    """What happened to the channel since is not what the open did."""
    parrot = parrots(version)
    block = parrot.holds(1000)
    receipt = parrot.receipt(block, parrot.event("ChannelOpened", 1000))
    parrot.holds(1000, 1000, 77)
    found = shop.run(confirm_opened(shop.chain.rpc_url, receipt, parrot.channel, 1000))
    assert found.state == ChannelState(1000, 0, 0, False)


@VERSIONS
@pytest.mark.guard("F12", "T33")
def test_a_replica_that_is_behind_is_asked_again(
    shop: Shop, parrots: Any, faulty: FaultyNode, version: Version
) -> None:
    """It breaks off, or doesn't know the block yet, or still has another one at this height."""
    parrot = parrots(version)
    receipt = parrot.receipt(parrot.holds(1000), parrot.event("ChannelOpened", 1000))
    faulty.on("eth_call", drop, 1)
    faulty.on("eth_getBlockByNumber", answer(None), 1)
    faulty.on("eth_getBlockByNumber", edit(lambda block: block | {"hash": "0x" + "99" * 32}), 1)
    found = shop.run(confirm_opened(faulty.url, receipt, parrot.channel, 1000))
    assert found.state.deposit_units == 1000
    assert faulty.calls.count("eth_call") == 4


@pytest.mark.guard("T33")
def test_a_block_that_is_gone_confirms_nothing(
    shop: Shop, parrots: Any, faulty: FaultyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not known, which is not "not paid"."""
    monkeypatch.setattr(reserve, "READ_WAIT_S", 0.3)
    parrot = parrots(V2)
    receipt = parrot.receipt(parrot.holds(1000), parrot.event("ChannelOpened", 1000))
    with pytest.raises(RpcUnreachable, match="block"):
        shop.run(confirm_opened(faulty.url, replace(receipt, block_hash="0x" + "99" * 32), parrot.channel, 1000))


@VERSIONS
@pytest.mark.guard("T32")
@pytest.mark.spec("TSES-095", "TSES-111", "TSES-113")
def test_success_without_the_escrows_event_confirms_nothing(shop: Shop, parrots: Any, version: Version) -> None:
    """A reverted transaction, no event, another contract's, another channel's, another amount."""
    parrot = parrots(version)
    block = parrot.holds(1000, 1000, finalized=version == V1)
    other = Parrot(parrot.chain, version)
    url, ref = shop.chain.rpc_url, parrot.channel
    for name, amounts, confirm in (
        ("ChannelOpened", [1000], lambda receipt: confirm_opened(url, receipt, ref, 1000)),
        ("TopUp", [5, 1000], lambda receipt: confirm_topped_up(url, receipt, ref, 5)),
        ("Settled", [900, 5, 900], lambda receipt: confirm_settled(url, receipt, ref, 900)),
        ("ChannelClosed", [5, 1000], lambda receipt: confirm_closed(url, receipt, ref)),
    ):
        good = parrot.event(name, *amounts)
        elsewhere = other.event(name, *amounts)
        another = replace(good, topics=(good.topics[0], bytes(32), *good.topics[2:]))
        receipts = [parrot.receipt(block, *logs) for logs in ([], [elsewhere], [another])]
        receipts.append(replace(parrot.receipt(block, good), succeeded=False))
        if name != "ChannelClosed":
            receipts.append(parrot.receipt(block, parrot.event(name, *[amount - 1 for amount in amounts])))
        for receipt in receipts:
            with pytest.raises(VerificationFailed):
                shop.run(confirm(receipt))


@pytest.mark.spec("TSES-112")
@VERSIONS
def test_an_event_that_the_state_contradicts_is_not_believed(shop: Shop, parrots: Any, version: Version) -> None:
    """A node that tells of a deposit which the channel doesn't hold is unreachable, not a witness."""
    parrot, url = parrots(version), shop.chain.rpc_url
    block = parrot.holds(999, 1)
    ref = parrot.channel
    for event, flow in (
        (parrot.event("ChannelOpened", 1000), lambda told: confirm_opened(url, told, ref, 1000)),
        (parrot.event("TopUp", 5, 1000), lambda told: confirm_topped_up(url, told, ref, 5)),
        (parrot.event("Settled", 2, 2, 2), lambda told: confirm_settled(url, told, ref, 2)),
        (parrot.event("ChannelClosed", 2, 2), lambda told: confirm_closed(url, told, ref)),
    ):
        with pytest.raises(RpcUnreachable, match="node tells"):
            shop.run(flow(parrot.receipt(block, event)))


@VERSIONS
@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-101", "TSES-102", "TSES-114", "TSES-122")
def test_a_channel_that_is_closing_is_not_paid_from(shop: Shop, parrots: Any, version: Version) -> None:
    """Its payer asked the chain to close it, or it is closed."""
    parrot, url = parrots(version), shop.chain.rpc_url
    opened, added = parrot.event("ChannelOpened", 1000), parrot.event("TopUp", 5, 1000)
    blocks = [parrot.holds(1000, 0, 77)]
    if version == V1:
        blocks.append(parrot.holds(1000, 0, finalized=True))
    for block in blocks:
        with pytest.raises(ChannelFinalized):
            shop.run(confirm_opened(url, parrot.receipt(block, opened), parrot.channel, 1000))
        with pytest.raises(ChannelFinalized):
            shop.run(confirm_topped_up(url, parrot.receipt(block, added), parrot.channel, 5))


@VERSIONS
@pytest.mark.spec("TSES-111", "TSES-112", "TSES-113")
def test_top_up_settlement_and_close_are_confirmed(shop: Shop, parrots: Any, version: Version) -> None:
    """Each by its event and the state in its block."""
    parrot, url = parrots(version), shop.chain.rpc_url
    added = parrot.receipt(parrot.holds(1005), parrot.event("TopUp", 5, 1005))
    assert shop.run(confirm_topped_up(url, added, parrot.channel, 5)).state.deposit_units == 1005
    settled = parrot.receipt(parrot.holds(1005, 400), parrot.event("Settled", 400, 400, 400))
    assert shop.run(confirm_settled(url, settled, parrot.channel, 400)).state.settled_units == 400
    block = parrot.holds(1005, 500, finalized=True) if version == V1 else parrot.says(0, 0, 0)
    closed = parrot.receipt(block, parrot.event("ChannelClosed", 500, 505))
    expected = ChannelClosed(parrot.channel.id, KEY.address, PAYEE, 500, 505)
    assert shop.run(confirm_closed(url, closed, parrot.channel)) == expected
