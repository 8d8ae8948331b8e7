"""The town's rail on a local Solana chain in this process, by the town's clock; and what must be true of its money."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
from solders.pubkey import Pubkey

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.client.wallet import Wallet
from coinslot.devnet.channels.solana import program
from coinslot.devnet.door import INVALID_PARAMS
from coinslot.devnet.svm import facade, faucet, genesis
from coinslot.devnet.svm.chain import Chain
from coinslot.devnet.svm.record import Record, is_token_account, token_units
from coinslot.devnet.svm.slots import SLOT_S, Slots
from coinslot.drive import Flow, Rpc
from coinslot.errors import RpcRefused, UsageError
from coinslot.method import Seller
from coinslot.methods.solana.method import METHOD
from coinslot.methods.solana.settings import Accept, Share
from coinslot.methods.solana.settings import Wallet as Purse
from coinslot.methods.solana.tokens import USDC
from support.awaits.life import Clock

PURSE = 5_000_000
SOL = 10**9
URL = "http://node"
IDLE_S = 3_600
GRACE_S = 900
_MINT = Pubkey.from_string(USDC)


class Node:
    """A chain whose slots pass by a clock of ours, and its JSON-RPC without HTTP."""

    def __init__(self, clock: Clock) -> None:
        slots = Slots(bytes(range(32)), clock, SLOT_S)
        self.clock, self.chain = clock, Chain(monotonic=clock, wall=clock, slots=slots)
        for address, account in genesis.accounts(self.chain.rent).items():
            self.chain.put(address, account)
        self.chain.add_program(Pubkey.from_string(program.PROGRAM_ID), program.elf())
        self.give(program.TREASURY_OWNER, 1, "USDC")

    def rpc(self, effect: Rpc) -> object:
        """What it answers. Raises RpcRefused."""
        params = msgspec.json.decode(msgspec.json.encode(effect.params))
        try:
            answer = facade.call(self.chain, effect.method, *params)
        except UsageError as error:
            raise RpcRefused(f"Invalid params: {error}", code=INVALID_PARAMS) from error
        return msgspec.json.decode(msgspec.json.encode(answer))

    def give(self, address: str, units: int, token: str) -> None:
        """Base units for somebody."""
        faucet.give(self.chain, address, units, faucet.find_asset(self.chain, token))

    def units(self, place: str) -> int | None:
        """Base units in a token account of USDC; None where there is none."""
        found = self.chain.account(Pubkey.from_string(place))
        if found is None or not is_token_account(found, data := found.data) or Pubkey.from_bytes(data[:32]) != _MINT:
            return None
        return token_units(data)

    def lamports(self, address: str) -> int:
        """Of an account; 0 where there is none."""
        found = self.chain.account(Pubkey.from_string(address))
        return found.lamports if found else 0


def key_of(name: str) -> Key:
    """The key of somebody, the same each time."""
    return Key(hashlib.sha256(name.encode()).digest())


def _text(key: Key) -> str:
    return "0x" + key.secret().hex()


@dataclass
class SolanaRail:
    """The parties of one town on a node that other towns use, too. `label` tells them apart."""

    node: Node
    label: str
    operator: bool = False
    sponsored: bool = True
    splits: int = 0
    charges: bool = False
    push: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    step_units: int = 0

    def __post_init__(self) -> None:
        """Everybody has what they need, and what their accounts hold is noted."""
        self.rent_returns = self.sponsored  # nobody looks for the rent that a payer paid itself
        node = self.node
        self.payee, self.payer, self.fees = (key_of(f"{self.label}/{who}") for who in ("payee", "payer", "fees"))
        self.secrets = [key.secret() for key in (self.payee, self.payer, self.fees)]
        self.sharers = [key_of(f"{self.label}/sharer {number}").address for number in range(self.splits)]
        node.give(self.payee.address, SOL, "SOL")
        node.give(self.payee.address, 1, "USDC")
        node.give(self.payer.address, PURSE, "USDC")
        if self.sponsored:
            node.give(self.fees.address, SOL, "SOL")
        else:
            node.give(self.payer.address, SOL, "SOL")
        self.treasury = derive_ata(program.TREASURY_OWNER, USDC, TOKEN_PROGRAM)
        self.places = [*map(self.place, [self.payee.address, self.payer.address, *self.sharers]), self.treasury]
        self._began = len(node.chain.records)
        self._units = {place: node.units(place) for place in self.places}
        self._lamports = {key.address: node.lamports(key.address) for key in (self.payee, self.payer, self.fees)}

    # --- the rail

    def sellers(self) -> Flow[Sequence[Seller]]:
        """As a shop's settings make them."""
        accept = Accept(
            **{
                "rpc_url": URL,
                "network": "localnet",
                "recipient": self.payee.address,
                "min_deposit": "0",
                "session_key": None if self.charges else _text(self.payee),
                "fee_payer_key": _text(self.fees) if self.sponsored else None,
                "session_splits": tuple(Share(recipient=one, bps=250) for one in self.sharers),
                "voucher_signer": "operator" if self.operator else "client",
                "idle_timeout_s": 86_400 if self.charges else IDLE_S,
                **self.changes,
            }
        )
        if self.charges:
            return (yield from METHOD.sellers(accept))
        return (yield from METHOD.sessions.sellers(accept))

    def wallet(self) -> Wallet:
        """The client's."""
        table: dict[str, Any] = {"rpc_url": URL, "network": "localnet", "private_key": _text(self.payer)}
        if self.operator:
            table["operator_deposit"] = "1"
        if self.push:
            table["mode"] = "push"
        return Wallet([(METHOD, Purse(**table))])

    def rpc(self, effect: Rpc) -> object:
        """The node's answer."""
        return self.node.rpc(effect)

    @property
    def idle_s(self) -> float:
        """After how much silence a channel is closed."""
        return float(IDLE_S)

    # --- money

    def place(self, owner: str) -> str:
        """Where somebody's tokens are."""
        return derive_ata(owner, USDC, TOKEN_PROGRAM)

    def gained(self, place: str) -> int:
        """What a token account holds more than when the town was made."""
        return (self.node.units(place) or 0) - (self._units[place] or 0)

    @property
    def paid(self) -> int:
        """What the client has less."""
        return -self.gained(self.place(self.payer.address))

    @property
    def earned(self) -> int:
        """What payee, sharers and treasury have more."""
        return sum(map(self.gained, set(self.places) - {self.place(self.payer.address)}))

    def _records(self) -> list[Record]:
        return list(islice(self.node.chain.records.values(), self._began, None))

    def conserved(self) -> None:
        """No transaction made or lost a unit, nor a lamport but for its fee."""
        for one in self._records():
            before, after = one.before, one.after
            assert sum(after.lamports) == sum(before.lamports) - one.fee, "lamports were lost or made"
            units = [sum(each.units for each in side.tokens if each.mint == USDC) for side in (before, after)]
            assert units[0] == units[1], "units were lost or made"

    def all_back(self) -> None:
        """Nothing is left in any escrow, and who paid rent has it back but for accounts that stay other people's."""
        records = self._records()
        there = {place for one in records for place in one.keys if self.node.units(place) is not None}
        assert there <= set(self.places), "token accounts that nobody needs"
        rent = sum(self.node.lamports(place) for place in there if self._units[place] is None)
        fees = sum(one.fee for one in records)
        spent = sum(before - self.node.lamports(who) for who, before in self._lamports.items())
        assert spent == fees + rent, f"{spent - fees - rent} lamports of rent did not come back"
        for who, before in self._lamports.items():
            own = before - self.node.lamports(who) - sum(one.fee for one in records if one.keys[0] == who)
            assert 0 <= own <= rent, f"{who} gained or lost {own} lamports besides fees"

    def close(self) -> None:
        """The node is other towns', too."""
