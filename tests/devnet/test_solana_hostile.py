"""Whatever is sent to the local Solana chain is answered as a node answers, and breaks nothing."""

from __future__ import annotations

from base64 import b64encode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer

from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.devnet.svm import base58
from coinslot.devnet.svm.facade import METHODS, Facade
from coinslot.errors import UsageError
from support.svm import SvmChain

pytestmark = pytest.mark.devnet

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
# Methods whose arguments move the clock or spoil later calls would make the other examples meaningless.
HARMLESS = sorted(name for name in METHODS if name not in {"svm_fault", "svm_setTiming", "svm_warpSeconds"})
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([USDC, TOKEN_PROGRAM, "base64", "base58", "jsonParsed", "finalized", "AAAA", "ff"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "encoding commitment filters memcmp offset bytes dataSize mint programId data owner executable "
                "lamports limit amount state delegate decimals extensions accounts addresses dataSlice length".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)


def answered(chain: SvmChain, body: bytes) -> object:
    """The answer to a body, which must be one of JSON-RPC."""
    status, answer = Facade(chain.running.chain).answer(body)
    assert status == 200
    return msgspec.json.decode(answer)


@FEW
@given(method=st.sampled_from(HARMLESS), params=st.lists(VALUES, max_size=4))
def test_any_parameters_get_a_result_or_a_refusal(shared_svm: SvmChain, method: str, params: list[object]) -> None:
    """Never an exception, whatever stands where."""
    told = answered(shared_svm, msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    assert isinstance(told, dict)
    assert ("result" in told) != ("error" in told)


@FEW
@given(body=st.binary(max_size=60) | VALUES.map(msgspec.json.encode))
def test_any_body_is_answered(shared_svm: SvmChain, body: bytes) -> None:
    """No JSON, no call, no batch."""
    assert answered(shared_svm, body) is not None


@FEW
@given(data=st.data())
def test_a_broken_transaction_is_refused(shared_svm: SvmChain, data: st.DataObject) -> None:
    """One byte changed anywhere: it is no transaction, or its signature is wrong; nothing moves."""
    payer, to = Keypair.from_seed(bytes(32)), Keypair.from_seed(b"\1" * 32).pubkey()
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=10**7))
    raw = bytearray(shared_svm.transaction([move], payer))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    for method in ("sendTransaction", "simulateTransaction"):
        params = [b64encode(bytes(raw)).decode(), {"encoding": "base64", "sigVerify": True}]
        told = answered(shared_svm, msgspec.json.encode({"id": 1, "method": method, "params": params}))
        assert isinstance(told, dict)
        assert told["error"]["code"] in {-32602, -32003}
    assert shared_svm.balance(str(to), "SOL") == 0


@given(st.binary(max_size=80))
def test_base58_is_read_as_it_is_written(data: bytes) -> None:
    """Leading zeros too; and as the library does it where it can."""
    assert base58.decode(base58.encode(data)) == data


@pytest.mark.parametrize("text", ["0", "O", "I", "l", " ", "é"])
def test_what_is_no_base58_is_refused(text: str) -> None:
    """The four letters that look like others, and all else."""
    with pytest.raises(ValueError, match="base58"):
        base58.decode(f"1{text}1")


def test_an_account_that_is_emptied_is_gone(shared_svm: SvmChain) -> None:
    """As on every cluster: null, not an account without lamports."""
    payer, to = shared_svm.keypair(), shared_svm.keypair()
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to.pubkey(), lamports=10**9 - 5000))
    raw = b64encode(shared_svm.transaction([move], payer)).decode()
    shared_svm.rpc("sendTransaction", raw, {"encoding": "base64"})
    assert shared_svm.rpc("getAccountInfo", str(payer.pubkey()))["value"] is None
    assert shared_svm.balance(str(to.pubkey()), "SOL") == 2 * 10**9 - 5000


@pytest.mark.parametrize(
    ("at", "fields"),
    [
        ("SysvarC1ock11111111111111111111111111111111", {"data": "00"}),
        (TOKEN_PROGRAM, {"data": ""}),
        ("fresh", {"executable": True}),
        ("fresh", {"executable": True, "owner": "BPFLoader2111111111111111111111111111111111", "data": "7f454c46"}),
    ],
)
def test_the_runtime_can_t_be_cheated_to_death(shared_svm: SvmChain, at: str, fields: dict[str, object]) -> None:
    """What its programs and sysvars are stays; what is no program isn't taken for one; all else goes on."""
    at = str(Keypair().pubkey()) if at == "fresh" else at
    with pytest.raises(UsageError):
        shared_svm.rpc("surfnet_setAccount", at, {"lamports": 10**9, **fields})
    assert shared_svm.balance(str(shared_svm.keypair(USDC=1).pubkey())) == 1
