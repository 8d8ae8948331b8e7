"""Where channels live: the session protocols, and the escrows that we know ourselves (TSES "Protocol Versions").

           on the chain                            amounts   a channel is named by     close pays the payee
    v1     a contract, TempoStreamChannel          uint128   its id                    what the voucher says
    v2     the channel reserve of TIP-1034         uint96    its whole descriptor      what the payee says, at most that

An escrow holds the deposits, so a stranger's word for one is not enough: those below are pinned, others are a matter
of the owner's settings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from coinslot.errors import UsageError
from coinslot.methods.tempo.tokens import MAINNET, TESTNET

# Both deployed escrows let a payer withdraw so long after asking to close (TSES "Grace Period Rationale").
CLOSE_GRACE_S = 15 * 60
# What a payer should wait instead: block times vary (TSES-189).
WITHDRAW_AFTER_S = 16 * 60


@dataclass(frozen=True, slots=True)
class Version:
    """A session protocol: its name on the wire, its EIP-712 domain, the width of its amounts.

    `max_units` is the largest amount, in base units.
    """

    name: str
    domain_name: str
    amount_bits: int
    max_units: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Compute what never changes."""
        object.__setattr__(self, "max_units", 2**self.amount_bits - 1)

    @property
    def voucher_type(self) -> str:
        """The EIP-712 type of a voucher."""
        return f"Voucher(bytes32 channelId,uint{self.amount_bits} cumulativeAmount)"


V1 = Version("v1", "Tempo Stream Channel", 128)
V2 = Version("v2", "TIP20 Channel Reserve", 96)
VERSIONS: Mapping[str, Version] = MappingProxyType({version.name: version for version in (V1, V2)})

# TIP-1034: one address on every Tempo node.
CHANNEL_RESERVE = "0x4d50500000000000000000000000000000000000"
_PINNED: Mapping[tuple[str, int], str] = MappingProxyType(
    {
        ("v1", MAINNET): "0x33b901018174ddabe4841042ab76ba85d4e24f25",
        ("v1", TESTNET): "0xe1c4d3dce17bc111181ddf716f75bae49e61a336",
        ("v2", MAINNET): CHANNEL_RESERVE,
        ("v2", TESTNET): CHANNEL_RESERVE,
    }
)


@dataclass(frozen=True, slots=True)
class Escrow:
    """One escrow: its protocol, chain and parsed address."""

    version: Version
    chain_id: int
    address: str


def pinned_escrow(version: Version, chain_id: int) -> Escrow | None:
    """The escrow that we know of this protocol on a chain, or None."""
    address = _PINNED.get((version.name, chain_id))
    return None if address is None else Escrow(version, chain_id, address)


def require_escrow(escrow: Escrow, others: Collection[str] = ()) -> None:
    """That an escrow is the pinned one, or one of the `others` (parsed addresses) that the owner allows.

    Raises UsageError. T07 T47
    """
    if escrow != pinned_escrow(escrow.version, escrow.chain_id) and escrow.address not in others:  # T47
        raise UsageError(
            f"{escrow.address} is not the known escrow of session protocol {escrow.version.name} "
            f"on chain {escrow.chain_id}"
        )
