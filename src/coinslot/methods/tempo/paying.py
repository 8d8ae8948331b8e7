"""What every payment of one account needs: its settings, how long it is valid, what it may cost, who signs.

A payment is valid for seconds only (an expiring nonce), so that a lost one is soon known to be dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coinslot.chains.evm.rpc import Block, balance_of, eth_call, gas_price
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.instant import parse_instant
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, MalformedHeader, NoPayableOffer, RpcUnreachable
from coinslot.methods.tempo.access_key import key_call, read_key_state
from coinslot.methods.tempo.tokens import Token, asset
from coinslot.methods.tempo.transaction.build import (
    serialise,
    serialise_for_fee_payer,
    sign,
    sign_with_access_key,
)
from coinslot.methods.tempo.transaction.fields import TempoTransaction
from coinslot.money import Asset

NAME = "tempo"
# Chains take expiring nonces up to 30 s ahead of their own clock; the rest is for the way there.
VALID_S = 25
# A head younger than this is the chain's way of keeping time; an older one means that our clock, or the node, is off.
FRESH_HEAD_S = 5
# Less time than this and the server could hardly get it into a block.
MIN_VALID_S = 3
# The base fee may rise by an eighth per block; twice covers five blocks.
FEE_MARGIN = 2


@dataclass(frozen=True, slots=True)
class PayerConfig:
    """A payer's settings, parsed and completed by the chain; see settings.Wallet."""

    rpc_url: str = field(repr=False)  # providers put keys into it
    chain_id: int
    account: str
    key: PrivateKey
    key_authorization: bytes | None
    fee_token: str | None
    mode: str
    max_fee_per_gas: int
    client_id: str | None
    tokens: Mapping[str, Token]
    sponsor_envelope: bool
    proof_version: str

    @property
    def by_access_key(self) -> bool:
        """Whether the key signs for another account than its own."""
        return self.key.address != self.account

    def asset(self, chain_id: int, address: str) -> Asset:
        """The asset at a parsed address, with what this wallet knows of it."""
        known = self.tokens.get(address) if chain_id == self.chain_id else None
        return asset(chain_id, address, known)


# --- asking the chain ----------------------------------------------------------------------------


def max_fee_per_gas(config: PayerConfig) -> Flow[int]:
    """The highest price per gas to sign now. Raises NoPayableOffer, ChainError."""
    price = yield from gas_price(config.rpc_url)
    if price > config.max_fee_per_gas:
        raise NoPayableOffer(f"tempo: the network asks {price} per gas, more than this wallet's max_fee_per_gas")
    return min(FEE_MARGIN * price, config.max_fee_per_gas)


def needed_key_authorization(config: PayerConfig) -> Flow[bytes | None]:
    """Our access key's authorization, as long as the chain doesn't know the key: twice it would be refused."""
    if config.key_authorization is None:
        return None
    call = key_call(config.account, config.key.address)
    try:
        state = read_key_state((yield from eth_call(config.rpc_url, call.to, call.data)))
    except BadTransaction as error:
        raise RpcUnreachable(f"the state of the access key: {error}") from None
    return None if state.known else config.key_authorization


def require_balance(config: PayerConfig, asset: Asset, units: int, fee_units: int) -> Flow[None]:
    """That the account holds `units`, and the part of the fee that is paid in the same asset (TCHG-048, TSES-053).

    Raises NoPayableOffer, ChainError.
    """
    held = yield from balance_of(config.rpc_url, asset.id, config.account)
    needed = units + fee_units
    if held < needed:
        raise NoPayableOffer(
            f"tempo: {config.account} holds {asset.text(held)}; {asset.text(needed)} are needed"
            f"{' with the network fee' if fee_units else ''}"
        )


# --- signing -------------------------------------------------------------------------------------


def chain_time_s(head: Block, now_s: float) -> int:
    """What time it is for the chain, in whole seconds: ours where it agrees with the head's, else the head's."""
    fresh = 0 <= now_s - head.timestamp_s <= FRESH_HEAD_S
    return int(now_s) if fresh else head.timestamp_s


def valid_before(expires: str | None, head: Block, now_s: float) -> int:
    """A few seconds from now by the chain's clock, and no later than the challenge's end. Raises NoPayableOffer."""
    start_s = chain_time_s(head, now_s)
    try:
        end_s = int(parse_instant(expires or ""))
    except MalformedHeader as error:
        raise NoPayableOffer(f"tempo: {error}") from None
    before_s = min(start_s + VALID_S, end_s)
    if before_s < start_s + MIN_VALID_S:
        raise NoPayableOffer("tempo: the challenge has expired, or is about to")
    return before_s


def sign_as_account(config: PayerConfig, tx: TempoTransaction) -> TempoTransaction:
    """The transaction as the account's, signed by its own key or by its access key."""
    if config.by_access_key:
        return sign_with_access_key(tx, config.key, config.account)
    return sign(tx, config.key)


def hand_over(config: PayerConfig, signed: TempoTransaction) -> bytes:
    """The bytes of a signed transaction, in the form that sponsors read if one is to pay its fee."""
    if signed.sponsored and config.sponsor_envelope:
        return serialise_for_fee_payer(signed, config.account)
    return serialise(signed)
