"""Channels on the local chain: transactions of each party, sent and read back, for either session protocol."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pytest

from coinslot.chains.evm.abi import encode_address, encode_bytes32, encode_uint256
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.rpc import Log
from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import RpcRefused
from coinslot.methods.tempo.session.calls import (
    OpenCall,
    SessionCall,
    approve_call,
    write_call,
)
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, Escrow
from coinslot.methods.tempo.session.events import ChannelEvent, ChannelOpened, read_events
from coinslot.methods.tempo.session.transaction import opened_channel
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.transaction.build import serialise, sign
from coinslot.methods.tempo.transaction.fields import EXPIRING_NONCE_KEY, Call, TempoTransaction
from support.devnet import Chain

PATH_USD = "0x20c0000000000000000000000000000000000000"
# Each party pays its fees in another token than the one in the channels, so that channels alone move that one.
FEE_TOKEN = "0x20c0000000000000000000000000000000000002"
ERRORS = (
    "AmountExceedsDeposit AmountNotIncreasing CaptureAmountInvalid ChannelAlreadyExists ChannelFinalized"
    " ChannelNotFound CloseNotReady DepositOverflow ExpiringNonceHashNotSet InvalidPayee InvalidSignature InvalidToken"
    " NotPayee NotPayeeOrOperator NotPayer PolicyForbids TransferFailed ZeroDeposit"
).split()
_ERRORS = {keccak256(f"{name}()".encode())[:4].hex(): name for name in ERRORS}


class Reverted(Exception):
    """A transaction ran and came to nothing; the text is the contract's error."""


@dataclass(frozen=True)
class Done:
    """A transaction that succeeded: the escrow's events, and the gas."""

    events: tuple[ChannelEvent, ...]
    gas: int


@dataclass(frozen=True)
class Opened:
    """An open channel and who may sign for it."""

    ref: ChannelRef
    signer: PrivateKey
    payer: PrivateKey
    payee: PrivateKey
    deposit: int


@dataclass(frozen=True)
class Bench:
    """The chain, one escrow on it, and what parties do there."""

    chain: Chain
    escrow: Escrow

    @property
    def scheme(self) -> VoucherScheme:
        """How its vouchers are signed."""
        return VoucherScheme(self.escrow)

    def person(self, units: int = 0) -> PrivateKey:
        """Somebody new, with fees to spend and so much pathUSD."""
        key = PrivateKey(secrets.token_bytes(32))
        self.chain.fund(key.address, 10**9, FEE_TOKEN)
        if units:
            self.chain.fund(key.address, units)
        return key

    def unsigned(self, calls: tuple[Call, ...], **fields: object) -> TempoTransaction:
        """A transaction that is valid for 20 s of the chain's clock."""
        settings: dict[str, object] = {
            "chain_id": self.escrow.chain_id,
            "calls": calls,
            "gas_limit": 8_000_000,
            "max_fee_per_gas": 40_000_000_000,
            "nonce_key": EXPIRING_NONCE_KEY,
            # the nonce of an expiring transaction plays no part; two equal calls differ by their gas limit
            "valid_before": self.chain.timestamp() + 20,
            "fee_token": FEE_TOKEN,
        }
        settings["gas_limit"] = 8_000_000 + secrets.randbelow(1_000_000)
        return TempoTransaction(**(settings | fields))  # type: ignore[arg-type]

    def submit(self, raw: bytes) -> dict[str, object]:
        """The receipt, whatever became of it."""
        receipt = self.chain.rpc("eth_sendRawTransactionSync", to_hex(raw))
        assert isinstance(receipt, dict)
        return receipt

    def send(self, key: PrivateKey, *calls: Call) -> Done:
        """Sign, send, and read the events. Raises Reverted with the name of the contract's error."""
        return self.outcome(key.address, calls, self.submit(serialise(sign(self.unsigned(calls), key))))

    def outcome(self, sender: str, calls: tuple[Call, ...], receipt: dict[str, object]) -> Done:
        """What a receipt tells. Raises Reverted."""
        if receipt["status"] != "0x1":
            raise Reverted(self.why(sender, calls[-1]))
        logs = receipt["logs"]
        assert isinstance(logs, list)
        read = [
            Log(each["address"], tuple(bytes.fromhex(t[2:]) for t in each["topics"]), bytes.fromhex(each["data"][2:]))
            for each in logs
        ]
        return Done(
            tuple(event for event in read_events(self.escrow, read)),
            int(str(receipt["gasUsed"]), 16),
        )

    def why(self, sender: str, call: Call) -> str:
        """The name of the error that a call ends with now."""
        request = {"from": sender, "to": call.to, "input": to_hex(call.data)}
        try:
            self.chain.rpc("eth_call", request, "latest")
        except RpcRefused as refusal:
            data = str(refusal.data or "")
            return _ERRORS.get(data[2:10], f"{data or refusal}")
        return "nothing"

    def open(self, deposit: int = 1_000_000, signer: PrivateKey | None = None, **terms: str) -> Opened:
        """A new channel between two new people, with as much again left to the payer."""
        payer, payee = self.person(2 * deposit), self.person()
        named = {"authorized_signer": signer.address} if signer else {}
        call = OpenCall(payee.address, PATH_USD, deposit, salt(), **(named | terms))
        calls: tuple[Call, ...] = (write_call(self.escrow, call),)
        if self.escrow.version == V1:
            calls = (approve_call(PATH_USD, self.escrow.address, 2**128 - 1), *calls)
        tx = self.unsigned(calls)
        ref = opened_channel(self.escrow, call, tx, payer.address)
        (event,) = self.outcome(payer.address, calls, self.submit(serialise(sign(tx, payer)))).events
        assert isinstance(event, ChannelOpened)
        assert (event.channel_id, event.payer, event.payee) == (ref.id, payer.address, payee.address)
        assert (event.token, event.salt, event.deposit_units) == (PATH_USD, call.salt, deposit)
        assert (event.authorized_signer, event.operator) == (call.authorized_signer, call.operator)
        return Opened(ref, signer or payer, payer, payee, deposit)

    def refuses(self, error: str, key: PrivateKey, call: SessionCall | Call) -> None:
        """That the call, really sent, ends with this error of the contract's and changes no balance of the escrow."""
        before = self.holds(self.escrow.address)
        with pytest.raises(Reverted, match=f"^{error}$"):
            self.send(key, call if isinstance(call, Call) else write_call(self.escrow, call))
        assert self.holds(self.escrow.address) == before

    def do(self, key: PrivateKey, call: SessionCall) -> Done:
        """One call of the escrow."""
        return self.send(key, write_call(self.escrow, call))

    def ask(self, signature: str, *words: bytes) -> bytes:
        """The answer of a view with static arguments."""
        data = keccak256(signature.encode())[:4] + b"".join(words)
        answer = self.chain.rpc("eth_call", {"to": self.escrow.address, "input": to_hex(data)}, "latest")
        return bytes.fromhex(str(answer)[2:])

    def holds(self, address: str, token: str = PATH_USD) -> int:
        """Base units."""
        return self.chain.balance_of(token, address)

    def voucher(self, channel: Opened, units: int) -> bytes:
        """The signer's signature for a channel's whole amount so far."""
        return self.scheme.sign(channel.signer, channel.ref.id, units)

    def later(self, seconds: int) -> None:
        """Let the chain's clock run ahead."""
        self.chain.rpc("evm_increaseTime", seconds)
        self.chain.mine()


def words(*values: str | int | bytes) -> tuple[bytes, ...]:
    """Addresses, integers and 32 bytes as words."""
    return tuple(
        encode_address(value)
        if isinstance(value, str)
        else encode_bytes32(value)
        if isinstance(value, bytes)
        else encode_uint256(value)
        for value in values
    )


def salt() -> str:
    """32 random bytes."""
    return to_hex(secrets.token_bytes(32))
