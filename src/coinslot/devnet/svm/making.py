"""A chain that is ready for transactions: accounts, tokens, and the channel program where it stands everywhere."""

from __future__ import annotations

import time

from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey

from coinslot.devnet.channels.solana import program
from coinslot.devnet.svm import genesis, state
from coinslot.devnet.svm.chain import Chain
from coinslot.errors import DevnetError


def open_chain(slot_s: float, confirm_s: float, saved: state.Saved | None = None) -> Chain:
    """A fresh chain, or one that goes on where it stopped. Raises DevnetError for a solders that is too old."""
    if not hasattr(LiteSVM, "get_program_accounts"):
        raise DevnetError("the local Solana chain needs solders 0.29 or newer: pip install -U solders")
    slots = state.slots_of(saved, time.monotonic, slot_s) if saved else None
    chain = Chain(slot_s=slot_s, confirm_s=confirm_s, slots=slots)
    if saved:
        state.restore(chain, saved)
    else:
        for address, account in genesis.accounts(chain.rent).items():
            chain.put(address, account)
    chain.add_program(Pubkey.from_string(program.PROGRAM_ID), program.elf())
    return chain
