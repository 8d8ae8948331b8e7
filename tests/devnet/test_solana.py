"""The local Solana chain: what a node and its cluster do, seen through its JSON-RPC."""

from __future__ import annotations

import sqlite3
import struct
import time
from base64 import b64decode, b64encode
from contextlib import closing
from typing import Any

import httpx
import pytest
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction, VersionedTransaction

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.devnet.channels.solana.program import PROGRAM_ID
from coinslot.devnet.protocol import devnet_names, find_devnet
from coinslot.devnet.solana import DEVNET
from coinslot.devnet.svm.slots import Slots
from coinslot.errors import RpcRefused, UsageError
from support.svm import SvmChain, post

pytestmark = pytest.mark.devnet

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
PYUSD = "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo"
LOOKUP_TABLES = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
BASE64 = {"encoding": "base64"}


def encoded(raw: bytes) -> str:
    """As sendTransaction takes it."""
    return b64encode(raw).decode()


def paying(chain: SvmChain, payer: Keypair, lamports: int = 10**7, to: Pubkey | None = None) -> bytes:
    """A signed transfer of SOL to somebody new."""
    to = to or Keypair().pubkey()
    return chain.transaction(
        [transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=lamports))], payer
    )


def send(chain: SvmChain, raw: bytes, **config: object) -> str:
    """sendTransaction; the signature."""
    return str(chain.rpc("sendTransaction", encoded(raw), {**BASE64, **config}))


def status(chain: SvmChain, signature: str) -> Any:
    """What getSignatureStatuses tells."""
    return chain.rpc("getSignatureStatuses", [signature])["value"][0]


def refused(chain: SvmChain, method: str, *params: object) -> RpcRefused:
    """The refusal of a call."""
    with pytest.raises(RpcRefused) as caught:
        chain.rpc(method, *params)
    return caught.value


def pay_token(
    source: Keypair, to: Pubkey, units: int, mint: str = USDC, program: str = TOKEN_PROGRAM
) -> list[Instruction]:
    """Make the receiver's token account and transfer into it, with a memo."""
    token, mint_key = Pubkey.from_string(program), Pubkey.from_string(mint)
    from_account, to_account = (
        Pubkey.from_string(derive_ata(str(owner), mint, program)) for owner in (source.pubkey(), to)
    )
    make = [AccountMeta(source.pubkey(), True, True), AccountMeta(to_account, False, True)]
    make += [AccountMeta(key, False, False) for key in (to, mint_key, Pubkey.from_string(SYSTEM_PROGRAM), token)]
    move = [
        AccountMeta(from_account, False, True),
        AccountMeta(mint_key, False, False),
        AccountMeta(to_account, False, True),
        AccountMeta(source.pubkey(), True, False),
    ]
    return [
        Instruction(Pubkey.from_string(ATA_PROGRAM), b"\1", make),
        Instruction(token, struct.pack("<BQB", 12, units, 6), move),
        Instruction(Pubkey.from_string(MEMO_PROGRAM), "für 1 Brot".encode(), []),
    ]


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


# --- telling of transactions ---------------------------------------------------------------------


def test_a_payment_is_told_in_names_and_amounts(shared_svm: SvmChain) -> None:
    """jsonParsed: instructions of the token, account and memo programs, and token balances before and after."""
    payer, to = shared_svm.keypair(PYUSD=10_000_000), Keypair().pubkey()
    instructions = pay_token(payer, to, 2_500_000, PYUSD, TOKEN_2022_PROGRAM)
    signature = send(shared_svm, shared_svm.transaction(instructions, payer))
    config = {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0, "commitment": "confirmed"}
    told = shared_svm.rpc("getTransaction", signature, config)
    make, move, memo = told["transaction"]["message"]["instructions"]
    account = derive_ata(str(to), PYUSD, TOKEN_2022_PROGRAM)
    assert (make["program"], make["parsed"]["type"]) == ("spl-associated-token-account", "createIdempotent")
    assert make["parsed"]["info"]["wallet"] == str(to)
    assert (move["program"], move["parsed"]["type"]) == ("spl-token-2022", "transferChecked")
    assert move["parsed"]["info"] == {
        "source": derive_ata(str(payer.pubkey()), PYUSD, TOKEN_2022_PROGRAM),
        "mint": PYUSD,
        "destination": account,
        "authority": str(payer.pubkey()),
        "tokenAmount": {"amount": "2500000", "decimals": 6, "uiAmount": 2.5, "uiAmountString": "2.5"},
    }
    assert (memo["program"], memo["parsed"]) == ("spl-memo", "für 1 Brot")
    assert (told["version"], told["meta"]["fee"], told["meta"]["err"]) == (0, 5000, None)
    keys = [each["pubkey"] for each in told["transaction"]["message"]["accountKeys"]]
    after = {keys[each["accountIndex"]]: each for each in told["meta"]["postTokenBalances"]}
    assert (after[account]["owner"], after[account]["mint"], after[account]["programId"]) == (
        str(to),
        PYUSD,
        TOKEN_2022_PROGRAM,
    )
    assert after[account]["uiTokenAmount"]["amount"] == "2500000"
    assert account not in {keys[each["accountIndex"]] for each in told["meta"]["preTokenBalances"]}
    inner = told["meta"]["innerInstructions"]
    assert [each["parsed"]["type"] for each in inner[0]["instructions"]][:2] == ["getAccountDataSize", "createAccount"]
    assert all(each["stackHeight"] == 2 for each in inner[0]["instructions"])
    named = shared_svm.rpc("getSignaturesForAddress", str(to))
    assert [(each["signature"], each["memo"]) for each in named] == [(signature, "[11] für 1 Brot")]


def test_a_legacy_transaction_lands_and_is_told(shared_svm: SvmChain) -> None:
    """In all four encodings, the raw ones byte for byte."""
    payer = shared_svm.keypair()
    to, blockhash = Keypair().pubkey(), Hash.from_string(shared_svm.blockhash())
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=10**7))
    message = Message.new_with_blockhash([move], payer.pubkey(), blockhash)
    raw = bytes(Transaction([payer], message, blockhash))
    signature = send(shared_svm, raw)
    assert shared_svm.rpc("getTransaction", signature, "base64")["transaction"] == [encoded(raw), "base64"]
    told = {
        each: shared_svm.rpc("getTransaction", signature, {"encoding": each, "maxSupportedTransactionVersion": 0})
        for each in ("json", "jsonParsed")
    }
    assert told["json"]["version"] == "legacy"
    assert told["json"]["transaction"]["message"]["header"]["numReadonlyUnsignedAccounts"] == 1
    parsed = told["jsonParsed"]["transaction"]["message"]
    assert parsed["instructions"][0]["parsed"]["info"]["lamports"] == 10**7
    assert [each["writable"] for each in parsed["accountKeys"]] == [True, True, False]
    assert told["json"]["meta"]["preBalances"][1:] == [0, 1]
    assert told["json"]["meta"]["postBalances"][1:] == [10**7, 1]


def test_a_new_version_is_told_only_to_who_allows_for_it(shared_svm: SvmChain) -> None:
    """As nodes do it, so that no client misreads what it can't know."""
    signature = send(shared_svm, paying(shared_svm, shared_svm.keypair()))
    assert refused(shared_svm, "getTransaction", signature, {"encoding": "json"}).code == -32015


def test_lookup_tables_are_resolved(shared_svm: SvmChain) -> None:
    """Their accounts are told behind the message's own, and changed by the transaction."""
    payer, to, table = shared_svm.keypair(), Keypair().pubkey(), Keypair().pubkey()
    head = struct.pack("<IQQBB32sH", 1, 2**64 - 1, 0, 0, 0, bytes(32), 0)
    shared_svm.running.chain.put(table, Account(10**9, head + bytes(to), LOOKUP_TABLES))
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=10**7))
    lookup = AddressLookupTableAccount(table, [to])
    message = MessageV0.try_compile(payer.pubkey(), [move], [lookup], Hash.from_string(shared_svm.blockhash()))
    assert len(message.address_table_lookups) == 1
    signature = send(shared_svm, bytes(VersionedTransaction(message, [payer])))
    told = shared_svm.rpc("getTransaction", signature, {"encoding": "json", "maxSupportedTransactionVersion": 0})
    assert told["meta"]["loadedAddresses"] == {"writable": [str(to)], "readonly": []}
    assert told["meta"]["postBalances"][-1] == 10**7 == shared_svm.balance(str(to), "SOL")
    told = shared_svm.rpc("getTransaction", signature, {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0})
    assert told["transaction"]["message"]["accountKeys"][-1]["source"] == "lookupTable"


def test_transactions_of_an_address_can_be_paged(shared_svm: SvmChain) -> None:
    """Newest first, `before` and `until` left out, at most `limit`."""
    payer, to = shared_svm.keypair(), Keypair().pubkey()
    sent = [send(shared_svm, paying(shared_svm, payer, 10**7 + each, to)) for each in range(4)][::-1]

    def listed(**config: object) -> list[str]:
        return [each["signature"] for each in shared_svm.rpc("getSignaturesForAddress", str(to), config)]

    assert listed() == sent
    assert listed(limit=2) == sent[:2]
    assert listed(before=sent[1]) == sent[2:]
    assert listed(until=sent[2]) == sent[:2]


# --- trying out ----------------------------------------------------------------------------------


def test_a_simulation_moves_nothing_and_tells_accounts(shared_svm: SvmChain) -> None:
    """As they would be, those it doesn't touch too."""
    payer, to = shared_svm.keypair(), Keypair().pubkey()
    raw = encoded(paying(shared_svm, payer, 10**7, to))
    watched = {"encoding": "base64", "addresses": [str(to), USDC, str(Keypair().pubkey())]}
    told = shared_svm.rpc("simulateTransaction", raw, {**BASE64, "sigVerify": True, "accounts": watched})["value"]
    assert told["err"] is None
    assert told["unitsConsumed"] == 150
    assert told["accounts"][0]["lamports"] == 10**7
    assert told["accounts"][1]["owner"] == TOKEN_PROGRAM
    assert told["accounts"][2] is None
    assert shared_svm.balance(str(to), "SOL") == 0


def test_a_simulation_checks_what_it_is_asked_to(svm: SvmChain) -> None:
    """Signatures and blockhash; one can't be verified where the other is replaced."""
    payer = svm.keypair()
    good = VersionedTransaction.from_bytes(paying(svm, payer))
    raw = encoded(bytes(VersionedTransaction.populate(good.message, [Signature.default()])))
    assert svm.rpc("simulateTransaction", raw, BASE64)["value"]["err"] is None
    assert refused(svm, "simulateTransaction", raw, {**BASE64, "sigVerify": True}).code == -32003
    svm.running.expire_blockhashes()
    assert svm.rpc("simulateTransaction", raw, BASE64)["value"]["err"] == "BlockhashNotFound"
    told = svm.rpc("simulateTransaction", raw, {**BASE64, "replaceRecentBlockhash": True})["value"]
    assert told["err"] is None
    assert told["replacementBlockhash"]["blockhash"] == svm.blockhash()
    both = {**BASE64, "replaceRecentBlockhash": True, "sigVerify": True}
    assert refused(svm, "simulateTransaction", raw, both).code == -32602


# --- accounts ------------------------------------------------------------------------------------


def test_accounts_of_a_program_are_filtered(shared_svm: SvmChain) -> None:
    """By size and by bytes at a place, in base58 or base64; with the slot if asked."""
    owner = shared_svm.keypair(USDC=5, USDT=6).pubkey()
    by_owner = {"memcmp": {"offset": 32, "bytes": str(owner)}}
    by_mint = {"memcmp": {"offset": 0, "bytes": encoded(bytes(Pubkey.from_string(USDC))), "encoding": "base64"}}
    config: dict[str, object] = {"encoding": "base64", "filters": [{"dataSize": 165}, by_owner]}
    assert len(shared_svm.rpc("getProgramAccounts", TOKEN_PROGRAM, config)) == 2
    config = {"encoding": "base64", "filters": [{"dataSize": 165}, by_owner, by_mint], "withContext": True}
    told = shared_svm.rpc("getProgramAccounts", TOKEN_PROGRAM, config)
    assert [each["pubkey"] for each in told["value"]] == [derive_ata(str(owner), USDC, TOKEN_PROGRAM)]
    assert shared_svm.rpc("getProgramAccounts", TOKEN_PROGRAM, {"filters": [{"dataSize": 82}, by_owner]}) == []
    by_program = {"programId": TOKEN_PROGRAM}
    told = shared_svm.rpc("getTokenAccountsByOwner", str(owner), by_program, {"encoding": "jsonParsed"})["value"]
    amounts = {each["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"] for each in told}
    assert amounts == {"5", "6"}


def test_accounts_are_told_in_the_encoding_asked_for(shared_svm: SvmChain) -> None:
    """Slices too; a long account not in base58."""
    data = {"encoding": "base58", "dataSlice": {"offset": 44, "length": 2}}
    assert shared_svm.rpc("getAccountInfo", USDC, data)["value"]["data"] == ["TW", "base58"]
    account = derive_ata(shared_svm.running.accounts[0].address, USDC, TOKEN_PROGRAM)
    assert refused(shared_svm, "getAccountInfo", account, {"encoding": "base58"}).code == -32600
    assert refused(shared_svm, "getAccountInfo", account, {"encoding": "hex"}).code == -32602
    assert shared_svm.rpc("getMultipleAccounts", [str(Keypair().pubkey()), USDC])["value"][0] is None


def test_cheats_place_accounts(shared_svm: SvmChain) -> None:
    """Under Surfpool's names: lamports, token accounts, their state; and mints under ours."""
    owner = str(Keypair().pubkey())
    shared_svm.rpc("surfnet_setAccount", owner, {"lamports": 77, "data": "0102"})
    told = shared_svm.rpc("getAccountInfo", owner, BASE64)["value"]
    assert (told["lamports"], told["data"][0]) == (77, "AQI=")
    shared_svm.rpc("surfnet_setAccount", owner, {"lamports": 78})
    assert shared_svm.rpc("getAccountInfo", owner, BASE64)["value"]["data"][0] == "AQI="
    shared_svm.rpc("surfnet_setTokenAccount", owner, PYUSD, {"amount": 99, "state": "frozen"}, TOKEN_2022_PROGRAM)
    assert shared_svm.balance(owner, "PYUSD") == 99
    mint = str(Keypair().pubkey())
    shared_svm.rpc("svm_setMint", mint, {"decimals": 2, "programId": TOKEN_2022_PROGRAM})
    shared_svm.fund(owner, 5, mint)
    assert shared_svm.balance(owner, mint) == 5


def test_an_airdrop_gives_sol(shared_svm: SvmChain) -> None:
    """A real transaction, final at once."""
    address = str(Keypair().pubkey())
    signature = shared_svm.rpc("requestAirdrop", address, 10**9)
    assert shared_svm.rpc("getBalance", address, {"commitment": "finalized"})["value"] == 10**9
    assert status(shared_svm, signature)["err"] is None


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("getNothing", [], -32601),
        ("getBalance", [], -32602),
        ("getBalance", ["1"], -32602),
        ("getBalance", [USDC, 5], -32602),
        ("getBalance", [USDC, {"commitment": "soon"}], -32602),
        ("getTransaction", ["1"], -32602),
        ("getTransaction", [str(Signature.default()), {"commitment": "processed"}], -32602),
        ("getMultipleAccounts", [[USDC] * 101], -32602),
        ("getSignatureStatuses", [[str(Signature.default())] * 257], -32602),
        ("getTokenAccountBalance", [USDC], -32602),
        ("getTokenAccountsByOwner", [USDC, {}], -32602),
        ("getProgramAccounts", [USDC, {"filters": [{}]}], -32602),
        ("svm_advanceSlots", [-1], -32602),
        ("svm_fault", ["earthquake"], -32602),
        ("getBlockTime", [2**40], -32004),
    ],
)
def test_bad_questions_get_a_node_s_refusal(shared_svm: SvmChain, method: str, params: list[object], code: int) -> None:
    """With the code that a node gives."""
    assert refused(shared_svm, method, *params).code == code


@pytest.mark.parametrize("settings", [{"port": -1}, {"port": 65536}, {"slot_ms": -1}, {"confirm_ms": 10**6}])
def test_bad_settings_are_refused(settings: dict[str, int]) -> None:
    """Before anything is started."""
    with pytest.raises(UsageError):
        DEVNET.start(**settings)  # type: ignore[arg-type]


def test_what_runs_on_the_chain_leaves_our_arithmetic_alone(svm: SvmChain) -> None:
    """Its compiled code leaves the processor in a state in which SQLite writes "NaN" for a fraction."""
    with closing(sqlite3.connect(":memory:")) as db:
        for _ in range(3):
            svm.keypair(USDC=1)
            assert db.execute("select cast(1.5 as text)").fetchone() == ("1.5",)
