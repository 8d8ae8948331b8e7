"""What we accept off the chain, the chain accepts: signatures against its own verifier."""

from __future__ import annotations

import httpx
import pytest

from coinslot.chains.evm.abi import decode_address, encode_call, encode_uint256
from coinslot.chains.evm.rpc import eth_call
from coinslot.chains.evm.signature import PrivateKey, recover
from coinslot.drive import RealWorld, run
from coinslot.errors import BadSignature, RpcRefused
from support.devnet import Chain

VERIFIER = "0x5165300000000000000000000000000000000000"
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = PrivateKey(bytes([7] * 32))
DIGEST = bytes(range(32))
GOOD = KEY.sign_digest(DIGEST)
R, S, V = GOOD[:32], GOOD[32:64], GOOD[64]
TWIN = (N - int.from_bytes(S, "big")).to_bytes(32, "big")
ACCOUNT = bytes([9] * 20)

VARIANTS = {
    "good": GOOD,
    "high s": R + TWIN + bytes([55 - V]),
    "high s, same v": R + TWIN + bytes([V]),
    "compact": R + bytes([S[0] | (V - 27) << 7]) + S[1:],
    "v 0 or 1": GOOD[:64] + bytes([V - 27]),
    "the other v": GOOD[:64] + bytes([55 - V]),
    "v 29": GOOD[:64] + b"\x1d",
    "v of EIP-155": GOOD[:64] + bytes([V + 8]),
    "64 bytes": GOOD[:64],
    "66 bytes": GOOD + b"\x00",
    "magic bytes": GOOD + b"\x77" * 32,
    "access key 1": b"\x03" + ACCOUNT + GOOD,
    "access key 2": b"\x04" + ACCOUNT + GOOD,
    "P-256": b"\x01" + bytes(129),
    "WebAuthn": b"\x02" + bytes(200),
    "zero r": bytes(32) + S + bytes([V]),
    "zero s": R + bytes(32) + bytes([V]),
    "empty": b"",
}


def on_chain(chain: Chain, signature: bytes) -> str | None:
    """Whom the chain's signature verifier recovers (TIP-1020), None where it reverts."""
    padded = signature + bytes(-len(signature) % 32)
    call = encode_call("recover(bytes32,bytes)", DIGEST, encode_uint256(64), encode_uint256(len(signature)), padded)
    with httpx.Client() as client:
        try:
            return decode_address(run(eth_call(chain.rpc_url, VERIFIER, call), RealWorld(client)))
        except RpcRefused:
            return None


@pytest.mark.devnet
@pytest.mark.guard("T13", "T14", "T15")
@pytest.mark.parametrize("name", VARIANTS)
def test_what_we_accept_the_chain_accepts(devnet: Chain, name: str) -> None:
    """Each spelling that recovers here recovers to the same account there: a voucher taken is a voucher paid."""
    try:
        ours = recover(DIGEST, VARIANTS[name])
    except BadSignature:
        assert name not in {"good", "the other v"}
        return
    assert on_chain(devnet, VARIANTS[name]) == ours
