"""The local Solana chain: what a node and its cluster do, seen through its JSON-RPC."""

from __future__ import annotations

import struct
import time
from base64 import b64decode

import httpx
import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import (
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.devnet.channels.solana.program import PROGRAM_ID
from coinslot.devnet.protocol import devnet_names, find_devnet
from coinslot.devnet.solana import DEVNET
from coinslot.devnet.svm.slots import Slots
from coinslot.errors import UsageError
from support.svm import SvmChain, post
from support.svmpay import BASE64, PYUSD, USDC, encoded, pay_token, paying, refused, send, status

pytestmark = pytest.mark.devnet


# --- what is there -------------------------------------------------------------------------------


def test_it_is_published_and_ready_in_a_moment() -> None:
    """It is found by its name, and a fresh chain is there in well under a second."""
    assert "solana" in devnet_names()
    assert find_devnet("solana") is DEVNET
    began = time.process_time()  # of this process, in which it runs: whatever else the machine does
    with DEVNET.start() as chain:
        assert chain.rpc("getHealth") == "ok"
        assert time.process_time() - began < 1
        assert chain.facts == {
            "network": "localnet",
            "genesis_hash": chain.rpc("getGenesisHash"),
            "channel_program": PROGRAM_ID,
        }
        assert chain.settings == {"network": "localnet"}
        url = chain.rpc_url
    with pytest.raises(httpx.ConnectError):
        post(url, "getHealth")
    chain.close()


def test_every_chain_has_a_name_of_its_own(shared_svm: SvmChain, svm: SvmChain) -> None:
    """So that what was promised on one chain can't be claimed on another."""
    assert shared_svm.rpc("getGenesisHash") != svm.rpc("getGenesisHash")


def test_tokens_stand_where_the_main_network_has_them(shared_svm: SvmChain) -> None:
    """USDC and USDT under the old token program, PYUSD under the new one, six decimals, funded accounts."""
    for symbol, program in (("USDC", TOKEN_PROGRAM), ("USDT", TOKEN_PROGRAM), ("PYUSD", TOKEN_2022_PROGRAM)):
        mint = shared_svm.running.tokens[symbol]
        told = shared_svm.rpc("getAccountInfo", mint, {"encoding": "jsonParsed"})["value"]
        assert told["owner"] == program
        assert told["data"]["parsed"]["info"]["decimals"] == 6
        owner = shared_svm.running.accounts[3].address
        account = derive_ata(owner, mint, program)
        held = shared_svm.rpc("getTokenAccountBalance", account)["value"]
        assert held["amount"] == str(shared_svm.balance(owner, symbol)) == str(10**15)
        assert shared_svm.rpc("getTokenSupply", mint)["value"]["amount"] >= str(10**16)
    assert (shared_svm.running.tokens["USDC"], shared_svm.running.tokens["PYUSD"]) == (USDC, PYUSD)


def test_the_well_known_keys_are_those_of_the_accounts(shared_svm: SvmChain) -> None:
    """Each key opens its address, and the same ones are there on every machine."""
    for account in shared_svm.running.accounts:
        assert str(Keypair.from_base58_string(account.private_key).pubkey()) == account.address
        assert account.private_key not in repr(account)
    assert shared_svm.running.accounts[0].address == "732JzHnrLUDiAawYsPYCiDxzCC8FKNBXDQeRtQecqkTy"


def test_the_channel_program_is_there(shared_svm: SvmChain) -> None:
    """At the address that it has everywhere."""
    told = shared_svm.rpc("getAccountInfo", PROGRAM_ID, BASE64)["value"]
    assert told["executable"] is True


@pytest.mark.parametrize(("token", "units"), [(None, 7), ("pyusd", 1), ("SOL", 10**9), ("wSOL", 5), (PYUSD, 2**62)])
def test_funding_gives_exactly_that_much(shared_svm: SvmChain, token: str | None, units: int) -> None:
    """By symbol, address or name of the chain's own money; told as finalized at once."""
    address = str(Keypair().pubkey())
    signature = shared_svm.fund(address, units, token)
    assert shared_svm.balance(address, token) == units
    assert status(shared_svm, signature)["confirmationStatus"] == "finalized"
    assert shared_svm.fund(address, units, token) != signature
    assert shared_svm.balance(address, token) == 2 * units


@pytest.mark.parametrize(
    ("address", "units", "token"),
    [
        ("0x12", 1, None),
        (USDC + "1", 1, None),
        (USDC, 0, None),
        (USDC, 2**64, None),
        (USDC, 1, "EUR"),
        (USDC, 1, USDC[:-1]),
    ],
)
def test_funding_refuses_what_is_none(shared_svm: SvmChain, address: str, units: int, token: str | None) -> None:
    """No address, no amount, no token."""
    with pytest.raises(UsageError):
        shared_svm.fund(address, units, token)


# --- time, slots, blockhashes --------------------------------------------------------------------


def test_programs_see_the_time_of_today(shared_svm: SvmChain) -> None:
    """The clock that programs read, in the account where they read it."""
    slot, began_s = shared_svm.rpc("getSlot"), int(time.time())
    data = shared_svm.rpc("getAccountInfo", "SysvarC1ock11111111111111111111111111111111", BASE64)["value"]["data"][0]
    clock = struct.unpack("<QqQQq", b64decode(data))
    assert began_s <= clock[4] <= time.time()
    assert slot <= clock[0] <= shared_svm.rpc("getSlot")


def test_the_clock_can_be_set_ahead(svm: SvmChain) -> None:
    """By seconds, for grace periods; slots pass by themselves and on command."""
    svm.timing(slot_ms=0)
    slot, began_s = svm.rpc("getSlot"), int(time.time())
    ahead = svm.rpc("svm_warpSeconds", 900)
    assert began_s <= ahead - 900 <= time.time()
    assert svm.rpc("getSlot") == slot
    assert svm.rpc("svm_advanceSlots", 1500) == slot + 1500 == svm.rpc("getSlot")
    assert svm.rpc("getBlockHeight") < svm.rpc("getSlot")
    assert began_s <= svm.rpc("getBlockTime", slot + 1500) - 900 <= time.time()


def test_slots_pass_with_time() -> None:
    """One for each period that has passed, whenever somebody looks."""
    now = [100.0]
    slots = Slots(bytes(32), lambda: now[0], slot_s=0.4)
    first, blockhash = slots.slot, slots.newest()[0]
    now[0] += 0.39
    assert not slots.catch_up()
    now[0] += 0.42
    assert slots.catch_up()
    assert slots.slot == first + 2
    assert slots.newest()[0] != blockhash
    now[0] += 86400 * 365
    slots.catch_up()
    assert slots.slot == first + 2 + 78_840_000
    assert len(slots.hashes) == 151


def test_a_blockhash_is_good_for_150_blocks(svm: SvmChain) -> None:
    """Up to the height that came with it, and not one block longer."""
    svm.timing(slot_ms=0)
    payer = svm.keypair()
    told = svm.rpc("getLatestBlockhash")["value"]
    raw, late = paying(svm, payer), paying(svm, payer, 2 * 10**7)
    svm.rpc("svm_advanceSlots", 150)
    assert svm.rpc("getBlockHeight") == told["lastValidBlockHeight"]
    assert svm.rpc("isBlockhashValid", told["blockhash"])["value"] is True
    send(svm, raw)
    svm.rpc("svm_advanceSlots", 1)
    assert svm.rpc("isBlockhashValid", told["blockhash"])["value"] is False
    refusal = refused(svm, "sendTransaction", encoded(late), BASE64)
    assert (refusal.code, str(refusal)) == (-32002, "Transaction simulation failed: Blockhash not found")
    assert status(svm, send(svm, late, skipPreflight=True)) is None


def test_a_final_blockhash_is_32_slots_old(svm: SvmChain) -> None:
    """So less of its life is left."""
    svm.timing(slot_ms=0)
    newest, final = (
        svm.rpc("getLatestBlockhash", {"commitment": commitment})["value"] for commitment in ("confirmed", "finalized")
    )
    assert newest["lastValidBlockHeight"] - final["lastValidBlockHeight"] == 32


def test_a_node_that_is_behind_says_so(shared_svm: SvmChain) -> None:
    """minContextSlot, in every method that takes it."""
    ahead = {"minContextSlot": shared_svm.rpc("getSlot") + 1000}
    raw = encoded(paying(shared_svm, shared_svm.keypair()))
    calls: list[tuple[str, list[object]]] = [("getSlot", []), ("getLatestBlockhash", []), ("getBalance", [USDC])]
    calls += [("getAccountInfo", [USDC]), ("sendTransaction", [raw]), ("simulateTransaction", [raw])]
    for method, params in calls:
        refusal = refused(shared_svm, method, *params, {**BASE64, **ahead})
        assert refusal.code == -32016
        assert isinstance(refusal.data, dict)
        assert "contextSlot" in refusal.data


# --- commitments ---------------------------------------------------------------------------------


def test_a_confirmation_takes_its_time(svm: SvmChain) -> None:
    """Processed at once; accounts and transactions are told as confirmed only when they are; final after 32 slots."""
    svm.timing(slot_ms=0, confirm_ms=60_000)
    payer, to = svm.keypair(), Keypair().pubkey()
    signature = send(svm, paying(svm, payer, 10**7, to))

    def held(commitment: str) -> int:
        return int(svm.rpc("getBalance", str(to), {"commitment": commitment})["value"])

    assert status(svm, signature)["confirmationStatus"] == "processed"
    assert [held(each) for each in ("processed", "confirmed", "finalized")] == [10**7, 0, 0]
    assert (
        svm.rpc("getTransaction", signature, {"commitment": "confirmed", "maxSupportedTransactionVersion": 0}) is None
    )
    assert svm.rpc("getSignaturesForAddress", str(to)) == []
    svm.timing(confirm_ms=0)
    assert status(svm, signature)["confirmationStatus"] == "confirmed"
    assert [held(each) for each in ("processed", "confirmed", "finalized")] == [10**7, 10**7, 0]
    assert svm.rpc("getSignaturesForAddress", str(to))[0]["signature"] == signature
    svm.rpc("svm_advanceSlots", 32)
    told = status(svm, signature)
    assert (told["confirmationStatus"], told["confirmations"]) == ("finalized", None)
    assert [held(each) for each in ("processed", "confirmed", "finalized")] == [10**7] * 3


def test_old_statuses_are_found_only_in_the_history(svm: SvmChain) -> None:
    """As on every node: whoever recovers after hours has to ask for the history."""
    signature = send(svm, paying(svm, svm.keypair()))
    svm.rpc("svm_advanceSlots", 301)
    assert status(svm, signature) is None
    told = svm.rpc("getSignatureStatuses", [signature], {"searchTransactionHistory": True})["value"][0]
    assert told["err"] is None


# --- sending -------------------------------------------------------------------------------------


def test_the_same_transaction_lands_once(shared_svm: SvmChain) -> None:
    """Sent again it is refused as already processed, or its signature answered; nothing moves twice."""
    payer, to = shared_svm.keypair(), Keypair().pubkey()
    raw = paying(shared_svm, payer, 10**7, to)
    signature = send(shared_svm, raw)
    refusal = refused(shared_svm, "sendTransaction", encoded(raw), BASE64)
    assert (refusal.code, refusal.data["err"]) == (-32002, "AlreadyProcessed")  # type: ignore[index]
    assert str(refusal) == "Transaction simulation failed: This transaction has already been processed"
    assert send(shared_svm, raw, skipPreflight=True) == signature
    assert shared_svm.balance(str(to), "SOL") == 10**7


def test_a_failing_transaction_costs_its_fee_only_without_preflight(shared_svm: SvmChain) -> None:
    """The preflight refuses it with the program's error and logs; past it, it lands as failed."""
    payer = shared_svm.keypair()
    raw = paying(shared_svm, payer, 10**12)
    refusal = refused(shared_svm, "sendTransaction", encoded(raw), BASE64)
    assert refusal.code == -32002
    assert str(refusal) == "Transaction simulation failed: Error processing Instruction 0: custom program error: 0x1"
    assert isinstance(refusal.data, dict)
    assert refusal.data["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert any("insufficient lamports" in line for line in refusal.data["logs"])
    assert shared_svm.balance(str(payer.pubkey()), "SOL") == 10**9
    signature = send(shared_svm, raw, skipPreflight=True)
    assert status(shared_svm, signature)["err"] == {"InstructionError": [0, {"Custom": 1}]}
    assert shared_svm.balance(str(payer.pubkey()), "SOL") == 10**9 - 5000


def test_bad_signatures_never_land(shared_svm: SvmChain) -> None:
    """Refused by the preflight; past it, forgotten."""
    payer, thief = shared_svm.keypair(), Keypair()
    good = VersionedTransaction.from_bytes(paying(shared_svm, payer))
    forged = VersionedTransaction.populate(good.message, [thief.sign_message(bytes(good.message))])
    refusal = refused(shared_svm, "sendTransaction", encoded(bytes(forged)), BASE64)
    assert (refusal.code, str(refusal)) == (-32003, "Transaction signature verification failure")
    assert status(shared_svm, send(shared_svm, bytes(forged), skipPreflight=True)) is None
    unsigned = VersionedTransaction.populate(good.message, [Signature.default()])
    assert refused(shared_svm, "sendTransaction", encoded(bytes(unsigned)), BASE64).code == -32003
    assert shared_svm.balance(str(payer.pubkey()), "SOL") == 10**9


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("!", "base64", "invalid base64 encoding"),
        ("AAAA" * 500, "base64", "too large: 2000 bytes (max: encoded/raw 1644/1232)"),
        ("AAAA", "base64", "failed to deserialize"),
        ("0OIl", "base58", "invalid base58 encoding"),
        ("AAAA", "hex", "unsupported encoding"),
    ],
)
def test_what_is_no_transaction_is_refused(shared_svm: SvmChain, text: str, encoding: str, message: str) -> None:
    """As invalid parameters, before anything else."""
    refusal = refused(shared_svm, "sendTransaction", text, {"encoding": encoding})
    assert refusal.code == -32602
    assert message in str(refusal)


def test_bytes_behind_a_transaction_are_refused(shared_svm: SvmChain) -> None:
    """What is signed is all there is."""
    raw = paying(shared_svm, shared_svm.keypair())
    assert refused(shared_svm, "sendTransaction", encoded(raw + b"\0"), BASE64).code == -32602


def test_a_fee_sponsor_may_pay_for_somebody_without_sol(shared_svm: SvmChain) -> None:
    """Both sign, the sponsor's SOL go down, the payer's tokens arrive."""
    sponsor, payer, to = shared_svm.keypair(), shared_svm.keypair(lamports=0, USDC=10), Keypair().pubkey()
    instructions = pay_token(payer, to, 4)
    instructions[0] = Instruction(
        instructions[0].program_id,
        b"\1",
        [AccountMeta(sponsor.pubkey(), True, True), *instructions[0].accounts[1:]],
    )
    send(shared_svm, shared_svm.transaction(instructions, sponsor, payer))
    assert shared_svm.balance(str(to)) == 4
    assert shared_svm.balance(str(payer.pubkey())) == 6
    assert shared_svm.balance(str(payer.pubkey()), "SOL") == 0
    assert shared_svm.balance(str(sponsor.pubkey()), "SOL") == 10**9 - 2 * 5000 - 2039280
