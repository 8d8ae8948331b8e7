"""What a wallet asks this method: fresh keys, their addresses, and what an address owns (SOL and tokens)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.rpc import accounts, block_time, genesis_hash, slot
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.tokens import read_mint, read_token_account
from coinslot.drive import Flow, random_bytes
from coinslot.errors import BadTransaction, RpcUnreachable, UsageError
from coinslot.method import Holding
from coinslot.methods.solana import tokens
from coinslot.methods.solana.tokens import SOL, Token

# 64 bytes in base58 are longer, 32 bytes in hex shorter.
_LEAST_PAIR = 80
_SEED = re.compile(r"0x[0-9a-f]{64}\Z", re.ASCII)


def parse_key(text: object) -> Key:
    """A private key as wallets write it: base58 of 64 bytes, a keygen file's JSON list, or 0x and the seed in hex.

    The two that carry a public half must carry the right one. Raises UsageError, which never repeats the text.
    """
    if type(text) is str and text.startswith("0x"):
        if not _SEED.match(text):
            raise UsageError("a private key in hex is 0x and 64 digits, lower-case")
        return Key(bytes.fromhex(text[2:]))
    if type(text) is str and text.lstrip().startswith("["):
        return Key.from_keygen(text)
    return Key.from_base58(text)


class SolanaKeys:
    """Solana keys are ed25519 keys, their addresses the public keys (see `coinslot.method.Keyed`)."""

    def new_key(self) -> Flow[str]:
        """A fresh private key from the world's randomness."""
        return "0x" + (yield from random_bytes(32)).hex()

    def address_of(self, private_key: str) -> str:
        """The address that a private key signs for. Raises UsageError, which never repeats the key."""
        return parse_key(private_key).address

    def read_key(self, text: str) -> str:
        """A key pair as wallets export it (base58 of 64 bytes), or as a keygen file has it, as 0x and its seed in hex;
        other texts as they are. Raises UsageError, which never repeats it.
        """
        if not text.startswith("[") and len(text) < _LEAST_PAIR:
            return text
        return "0x" + parse_key(text).secret().hex()

    def balances(self, rpc_url: str, address: str, assets: Sequence[str]) -> Flow[Sequence[Holding]]:
        """What an address owns of these ("sol", or mints), or of SOL and what we know on the node's cluster.

        Raises UsageError for a named token that isn't there, ChainError.
        """
        owner = parse_address(address)
        named = [each if each == SOL else parse_address(each) for each in assets]
        genesis = yield from genesis_hash(rpc_url)
        network, known = tokens.network(genesis), tokens.pinned(tokens.cluster_of(genesis))
        wanted = named or [SOL, *known]
        mints = [each for each in wanted if each != SOL]
        found = dict(zip([owner, *mints], (yield from accounts(rpc_url, [owner, *mints])), strict=True))
        programs: dict[str, Token] = {}
        for mint in mints:
            kept = found[mint]
            if kept is None:
                if named:
                    raise UsageError(f"there is no token {mint} on {network}")
                continue
            pin = known.get(mint)
            try:
                programs[mint] = pin or Token(kept.owner, read_mint(kept.owner, kept.data).decimals, "")
            except BadTransaction as error:
                raise UsageError(f"{mint} on {network} is no token: {error}") from None
        held = yield from _held(rpc_url, owner, programs)
        purse = found[owner]
        own = 0 if purse is None else purse.lamports
        return [
            Holding(tokens.asset(network, each, programs.get(each)), own if each == SOL else held[each])
            for each in wanted
            if each == SOL or each in programs
        ]

    def chain_time_s(self, rpc_url: str) -> Flow[float]:
        """The time of the newest confirmed block, seconds since 1970. Raises ChainError."""
        time_s = yield from block_time(rpc_url, (yield from slot(rpc_url)))
        if time_s is None:
            raise RpcUnreachable("getBlockTime: the node does not know when its newest block was made")
        return float(time_s)


def _held(url: str, owner: str, programs: dict[str, Token]) -> Flow[dict[str, int]]:
    """Base units by mint, in the owner's associated accounts; 0 where there is none."""
    places = [derive_ata(owner, mint, token.program) for mint, token in programs.items()]
    found = (yield from accounts(url, places)) if places else ()
    held = {}
    for mint, each in zip(programs, found, strict=True):
        try:
            held[mint] = 0 if each is None else read_token_account(each.owner, each.data).amount_units
        except BadTransaction as error:
            raise RpcUnreachable(f"the token account for {mint}: {error}") from None
    return held


KEYS = SolanaKeys()
