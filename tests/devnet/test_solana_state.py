"""The local Solana chain goes on where it stopped."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer

from coinslot.devnet.channels.solana.program import PROGRAM_ID
from coinslot.devnet.solana import DEVNET
from coinslot.errors import DevnetError, UsageError
from support.svm import SvmChain

pytestmark = pytest.mark.devnet


def test_a_chain_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Balances, slots, the past, the clock, the chain's name, and signed transactions that were not sent yet."""
    with DEVNET.start(slot_ms=0, state_dir=tmp_path / "kept") as first:
        chain = SvmChain(first)
        payer, to = chain.keypair(USDC=5), Keypair().pubkey()
        sent, later = (
            b64encode(
                chain.transaction(
                    [transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=lamports))], payer
                )
            ).decode()
            for lamports in (10**7, 2 * 10**7)
        )
        signature = chain.rpc("sendTransaction", sent, {"encoding": "base64"})
        first.advance_slots(40)
        first.warp_seconds(1000)
        config = {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0}
        facts = (first.facts, first.chain.slots.slot, first.chain.time_s // 100, chain.blockhash())
        told = first.rpc("getTransaction", signature, config)
    with DEVNET.start(slot_ms=0, state_dir=tmp_path / "kept") as second:
        again = SvmChain(second)
        assert (second.facts, second.chain.slots.slot, second.chain.time_s // 100, again.blockhash()) == facts
        assert second.rpc("getTransaction", signature, config) == told
        assert again.balance(str(payer.pubkey())) == 5
        assert again.balance(str(to), "SOL") == 10**7
        again.rpc("sendTransaction", later, {"encoding": "base64"})
        assert again.balance(str(to), "SOL") == 3 * 10**7
        assert again.rpc("getAccountInfo", PROGRAM_ID, {"encoding": "base64"})["value"]["executable"] is True


def test_a_folder_belongs_to_one_chain_at_a_time(tmp_path: Path) -> None:
    """The second is refused, and the first one's state is safe."""
    with DEVNET.start(state_dir=tmp_path), pytest.raises(DevnetError, match="using the state folder"):
        DEVNET.start(state_dir=tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format":1}'])
def test_a_file_that_is_no_state_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """Nothing is overwritten, the port and the folder are free again."""
    (tmp_path / "chain-solana.json").write_bytes(content)
    with pytest.raises(UsageError, match="nothing was changed"):
        DEVNET.start(state_dir=tmp_path)
    assert (tmp_path / "chain-solana.json").read_bytes() == content
    (tmp_path / "chain-solana.json").unlink()
    DEVNET.start(state_dir=tmp_path).close()


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    """Rather than misread."""
    DEVNET.start(state_dir=tmp_path).close()
    file = tmp_path / "chain-solana.json"
    file.write_bytes(file.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(UsageError, match="another version"):
        DEVNET.start(state_dir=tmp_path)
