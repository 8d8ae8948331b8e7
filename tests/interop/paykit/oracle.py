"""What the Solana peer makes of the same parameters: addresses, vouchers, hashes, instructions. One JSON object a line.

Runs under its own interpreter; it imports nothing of coinslot.
"""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType
from typing import Any

from solana_pay_kit._paycore import paymentchannels as core  # type: ignore[import-not-found]  # of its own environment
from solana_pay_kit.protocols.mpp.intents.session import (  # type: ignore[import-not-found]
    SessionAuthentication,
    SignedVoucher,
)
from solana_pay_kit.protocols.mpp.server import session_voucher  # type: ignore[import-not-found]
from solana_pay_kit.protocols.programs.paymentchannels.accounts.channel import Channel  # type: ignore[import-not-found]
from solana_pay_kit.protocols.x402 import upto  # type: ignore[import-not-found]
from solders.instruction import Instruction
from solders.pubkey import Pubkey

_key = Pubkey.from_string


def generated(name: str) -> ModuleType:
    """One of the generated builders."""
    return importlib.import_module(f"solana_pay_kit.protocols.programs.paymentchannels.instructions.{name}")


def told(instruction: Instruction) -> dict[str, Any]:
    """An instruction as JSON."""
    accounts = [[str(each.pubkey), each.is_signer, each.is_writable] for each in instruction.accounts]
    return {"program": str(instruction.program_id), "accounts": accounts, "data": bytes(instruction.data).hex()}


def recipients(args: dict[str, Any]) -> list[Any]:
    """The splits."""
    return [core.Distribution(_key(recipient), bps) for recipient, bps in args["splits"]]


def channel(args: dict[str, Any]) -> list[Any]:
    """Address and bump."""
    names = ("payer", "payee", "mint", "authorizedSigner")
    keys = [_key(args[name]) for name in names]
    address, bump = core.find_channel_pda(*keys, args["salt"], args["openSlot"], _key(args["program"]))
    return [str(address), bump]


def event_authority(args: dict[str, Any]) -> str:
    """The program's own signer."""
    return str(core.find_event_authority_pda(_key(args["program"]))[0])


def voucher(args: dict[str, Any]) -> str:
    """The bytes that are signed."""
    return bytes(core.voucher_message_bytes(_key(args["channel"]), args["cumulative"], args["expiresAt"])).hex()


def ed25519(args: dict[str, Any]) -> dict[str, Any]:
    """The precompile's instruction."""
    signature, message = bytes.fromhex(args["signature"]), bytes.fromhex(args["message"])
    return told(core.build_ed25519_verify_instruction(_key(args["signer"]), signature, message))


def splits_hash(args: dict[str, Any]) -> str:
    """What a channel keeps of its splits."""
    return bytes(upto._distribution_hash(recipients(args))).hex()


def bearer(args: dict[str, Any]) -> str:
    """The bytes of a bearer proof."""
    return bytes(SessionAuthentication(args["challengeId"], args["payer"], "").message_bytes(args["channel"])).hex()


def check_voucher(args: dict[str, Any]) -> str | None:
    """Why a signed voucher is not good; None: it is."""
    signed = SignedVoucher.from_dict(args["voucher"])
    why: str | None = session_voucher._verify_voucher_signature_bytes(signed, args["signer"])
    return why


def account(args: dict[str, Any]) -> dict[str, Any]:
    """A channel's account, read."""
    return dict(Channel.decode(bytes.fromhex(args["data"])).to_json())


def open_(args: dict[str, Any]) -> dict[str, Any]:
    """The opening of a channel."""
    params = core.OpenChannelParams(
        payer=_key(args["payer"]),
        rent_payer=_key(args["rentPayer"]),
        payee=_key(args["payee"]),
        mint=_key(args["mint"]),
        authorized_signer=_key(args["authorizedSigner"]),
        salt=args["salt"],
        deposit=args["deposit"],
        grace_period=args["grace"],
        open_slot=args["openSlot"],
        recipients=recipients(args),
        token_program=_key(args["tokenProgram"]),
        program_id=_key(args["program"]),
    )
    return told(core.build_open_instruction(params))


def top_up(args: dict[str, Any]) -> dict[str, Any]:
    """More for a channel."""
    params = core.TopUpParams(
        payer=_key(args["payer"]),
        channel=_key(args["channel"]),
        mint=_key(args["mint"]),
        amount=args["amount"],
        token_program=_key(args["tokenProgram"]),
        program_id=_key(args["program"]),
    )
    return told(core.build_top_up_instruction(params))


def settle_and_seal(args: dict[str, Any]) -> list[dict[str, Any]]:
    """The payee's end, with the voucher's instruction before it where there is one."""
    signature = args["signature"]
    made = core.build_settle_and_seal_instructions(
        payee=_key(args["payee"]),
        channel=_key(args["channel"]),
        authorized_signer=_key(args["authorizedSigner"]),
        signature=None if signature is None else bytes.fromhex(signature),
        cumulative=args["cumulative"],
        expires_at=args["expiresAt"],
        program_id=_key(args["program"]),
    )
    return [told(each) for each in made]


def distribute(args: dict[str, Any]) -> dict[str, Any]:
    """Everybody's share."""
    made = core.build_distribute_instruction(
        channel=_key(args["channel"]),
        payer=_key(args["payer"]),
        payee=_key(args["payee"]),
        mint=_key(args["mint"]),
        recipients=recipients(args),
        token_program=_key(args["tokenProgram"]),
        program_id=_key(args["program"]),
        treasury=_key(args["treasury"]),
        rent_payer=_key(args["rentPayer"]),
    )
    return told(made)


def plain(args: dict[str, Any]) -> dict[str, Any]:
    """Any generated builder without arguments: the accounts as they are given."""
    build = getattr(generated(args["file"]), args["name"])
    accounts = {name: _key(value) for name, value in args["accounts"].items()}
    return told(build(accounts, program_id=_key(args["program"])))


def associated(args: dict[str, Any]) -> str:
    """A token account."""
    owner, mint, program = (_key(args[name]) for name in ("owner", "mint", "tokenProgram"))
    return str(core.find_associated_token_address(owner, mint, program)[0])


def batch(args: dict[str, Any]) -> list[dict[str, Any]]:
    """Many orders of one kind."""
    return [answer(args["op"], each) for each in args["list"]]


OPS = {
    "channel": channel,
    "eventAuthority": event_authority,
    "voucher": voucher,
    "ed25519": ed25519,
    "splitsHash": splits_hash,
    "bearer": bearer,
    "checkVoucher": check_voucher,
    "account": account,
    "open": open_,
    "topUp": top_up,
    "settleAndSeal": settle_and_seal,
    "distribute": distribute,
    "plain": plain,
    "associated": associated,
    "batch": batch,
}


def answer(op: str, args: dict[str, Any]) -> dict[str, Any]:
    """One order."""
    try:
        return {"value": OPS[op](args)}
    except Exception as error:  # whatever it is, the tests want to read it
        return {"error": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    order = json.loads(line)
    print(json.dumps({"id": order["id"]} | answer(order["op"], order["args"])), flush=True)
