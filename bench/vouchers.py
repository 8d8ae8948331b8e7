"""What a session's voucher costs: read and verified, signed; beside mppx and eth_account.

`python bench/vouchers.py` prints a table; `rows()` gives it to `python -m bench`. mppx runs in an environment of its
own, that of the interop tests; where there is none its rows have no peer.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from eth_account import Account
from eth_account.messages import encode_typed_data

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey, recover
from coinslot.methods.tempo.session.channel import ChannelRef, Descriptor, channel_ref
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow, Version, pinned_escrow
from coinslot.methods.tempo.session.payload import VoucherPayload, read_payload
from coinslot.methods.tempo.session.voucher import VoucherScheme

HERE = Path(__file__).resolve().parent
PEER_S = 120.0
CHAIN = 42431
KEY = PrivateKey(b"\x01" * 32)
# Vouchers that differ, so that nothing is remembered from one to the next.
MANY = 1000


def _best(work: Callable[[], object], times: int = MANY) -> float:
    """Processor microseconds, the best of several rounds: the others had more of somebody else in them."""
    found = float("inf")
    for _ in range(7):
        begun = time.process_time()
        for _ in range(times):
            work()
        found = min(found, (time.process_time() - begun) / times)
    return found * 1e6


def _row(name: str, value: float, peer: str | None = None, peer_value: float | None = None) -> dict[str, object]:
    ratio = round(peer_value / value, 1) if peer_value else None
    told = round(peer_value, 1) if peer_value else None
    return {"name": name, "value": round(value, 1), "unit": "us", "peer": peer if told else None, "peer_value": told,
            "ratio": ratio}  # fmt: skip


def _channel(place: Escrow) -> ChannelRef:
    if place.version == V1:
        return ChannelRef(place, "0x" + "55" * 32)
    token = "0x20c0000000000000000000000000000000000000"
    parties = (KEY.address, "0x" + "22" * 20, "0x" + "00" * 20, token)
    return channel_ref(place, Descriptor(*parties, "0x" + "33" * 32, KEY.address, "0x" + "44" * 32))


def _eth_account(place: Escrow, channel: str) -> float:
    """The general encoder and a recovery, as most Python programs do it."""
    signature = VoucherScheme(place).sign(KEY, channel, 1)
    domain = {"name": place.version.domain_name, "version": "1", "chainId": CHAIN, "verifyingContract": place.address}
    uint = f"uint{place.version.amount_bits}"
    types = {"Voucher": [{"name": "channelId", "type": "bytes32"}, {"name": "cumulativeAmount", "type": uint}]}
    message = {"channelId": bytes.fromhex(channel[2:]), "cumulativeAmount": 1}

    def verify() -> None:
        signable = encode_typed_data(domain, types, message)
        assert Account.recover_message(signable, signature=signature).lower() == KEY.address

    return _best(verify, 20)


def _mppx(place: Escrow, channel: str) -> float | None:
    """Its own figure for the same voucher, or None where it is not installed."""
    home = Path(os.environ.get("COINSLOT_INTEROP_DIR") or Path.home() / ".cache" / "coinslot" / "interop")
    homes = [found.parent for found in sorted(home.glob("node-*/.ready")) if "legacy" not in str(found)]
    if not homes or shutil.which("node") is None:
        return None
    shutil.copy(HERE.parent / "tests" / "interop" / "session.mjs", homes[-1])
    order = {
        "version": place.version.name,
        "count": 100,
        "escrow": place.address,
        "chainId": CHAIN,
        "channelId": channel,
        "amount": "1",
        "signature": to_hex(VoucherScheme(place).sign(KEY, channel, 1)),
        "signer": KEY.address,
    }
    line = json.dumps({"id": 1, "op": "time.verify", "args": order})
    command = ["node", "session.mjs"]
    try:
        done = subprocess.run(
            command, cwd=homes[-1], input=line + "\n", capture_output=True, text=True, timeout=PEER_S, check=True
        )
        return float(json.loads(done.stdout)["value"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        print(f"mppx: {error}", file=sys.stderr)
        return None


def _version(version: Version) -> list[dict[str, object]]:
    place = pinned_escrow(version, CHAIN)
    assert place is not None
    scheme, channel = VoucherScheme(place), _channel(place)
    signed = [(units, scheme.sign(KEY, channel.id, units)) for units in range(1, MANY + 1)]
    payloads = [VoucherPayload(channel, units, signature).members() for units, signature in signed]
    turns = itertools.cycle(range(MANY))

    def verify() -> None:
        units, signature = signed[next(turns)]
        scheme.verify(channel.id, units, signature, KEY.address)

    def whole() -> None:
        found = read_payload(payloads[next(turns)], place)
        assert isinstance(found, VoucherPayload)
        scheme.verify(found.channel.id, found.cumulative_units, found.signature, KEY.address)

    name = version.name
    return [
        _row(f"verify a voucher, {name}", _best(verify), "mppx", _mppx(place, channel.id)),
        _row(f"read a payload and verify its voucher, {name}", _best(whole), "eth_account",
             _eth_account(place, channel.id)),
        _row(f"sign a voucher, {name}", _best(lambda: scheme.sign(KEY, channel.id, next(turns)))),
    ]  # fmt: skip


def rows() -> list[dict[str, object]]:
    """One row per figure: name, value, unit, peer, peer_value, ratio (how many times the peer's time is ours)."""
    digest, signature = bytes(range(32)), KEY.sign_digest(bytes(range(32)))
    found = [_row("recover alone", _best(lambda: recover(digest, signature)))]
    for version in (V1, V2):
        found += _version(version)
    return found


def main() -> int:
    """The table."""
    for each in rows():
        peer = f"{each['peer']}: {each['peer_value']} us, {each['ratio']} x" if each["peer"] else ""
        print(f"{each['name']!s:<60}{each['value']!s:>8} {each['unit']}  {peer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
