"""What a wallet asks this method: fresh keys, their addresses, and what an address owns (TIP-20 balances)."""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.chains.evm.abi import decode_uint256, encode_call
from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.rpc import balance_of, chain_id, code_at, eth_call, latest_block
from coinslot.chains.evm.signature import PrivateKey
from coinslot.drive import Flow, random_bytes
from coinslot.errors import BadTransaction, UsageError
from coinslot.method import Holding
from coinslot.methods.tempo import tokens
from coinslot.money import Asset

# A draw outside the curve's range has a chance of 2**-128: twice in a row is a broken generator, not bad luck.
_DRAWS = 2
# A token tells its decimals in one byte; no token that we know has more than 36.
_MOST_DECIMALS = 36


class TempoKeys:
    """Tempo keys are secp256k1 keys, their addresses those of Ethereum (see `coinslot.method.Keyed`)."""

    def new_key(self) -> Flow[str]:
        """A fresh private key from the world's randomness."""
        for _ in range(_DRAWS):
            secret = yield from random_bytes(32)
            try:
                PrivateKey(secret)
            except UsageError:
                continue
            return "0x" + secret.hex()
        raise UsageError("the source of randomness is broken: it draws no usable private key")

    def address_of(self, private_key: str) -> str:
        """The address that a private key signs for. Raises UsageError, which never repeats the key."""
        return PrivateKey.from_hex(private_key).address

    def read_key(self, text: str) -> str:
        """As it is: the other programs of these chains write keys as we do."""
        return text

    def balances(self, rpc_url: str, address: str, assets: Sequence[str]) -> Flow[Sequence[Holding]]:
        """What an address owns of these tokens (their addresses), or of those that we know on the node's chain.

        Raises UsageError for a named token that isn't there, ChainError.
        """
        owner, named = parse_address(address), [parse_address(each) for each in assets]
        chain = yield from chain_id(rpc_url)
        found: list[Holding] = []
        for token in named or tokens.pinned(chain) or [tokens.PATH_USD]:
            if (yield from code_at(rpc_url, token)):
                asset = yield from _asset(rpc_url, chain, token)
                found.append(Holding(asset, (yield from balance_of(rpc_url, token, owner))))
            elif named:
                raise UsageError(f"there is no token at {token} on {tokens.network(chain)}")
        return found

    def chain_time_s(self, rpc_url: str) -> Flow[float]:
        """The time of the newest block, seconds since 1970. Raises ChainError."""
        return float((yield from latest_block(rpc_url)).timestamp_s)


def _asset(rpc_url: str, chain: int, address: str) -> Flow[Asset]:
    """A pinned token, or one whose decimals only the chain tells; its symbol anybody may choose, so it isn't asked."""
    if pinned := tokens.pinned(chain).get(address):
        return tokens.asset(chain, address, pinned)
    try:
        decimals = decode_uint256((yield from eth_call(rpc_url, address, encode_call("decimals()"))))
    except BadTransaction:
        decimals = _MOST_DECIMALS + 1
    return Asset(tokens.network(chain), address, decimals if decimals <= _MOST_DECIMALS else None)


KEYS = TempoKeys()
