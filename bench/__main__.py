"""`python -m bench [MODULE ...]`: measure, print ratios, write bench/results.json.

Every module of this folder that has `rows()` is run (or those that are named), pinned to one core. A row is {name,
value, unit, peer, peer_value, ratio}; the ratio says how many times the peer's figure is ours. See docs/performance.md.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.pinning import available, pin

HERE = Path(__file__).resolve().parent
# First what is promised, last what takes longest.
MODULES = (
    "peers",
    "solanavouchers",
    "sessions",
    "solanasessions",
    "gate",
    "store",
    "channels",
    "vouchers",
    "svm",
    "solanacharges",
    "doors",
    "core",
)
# Where the ratio alone is promised.
NO_LIMIT = float("inf")
# The lines to hold, in the unit of the row, and the least ratio to the peer.
LINES: dict[str, tuple[float, float | None]] = {
    "issue a 402": (25.0, 10.0),
    "re-verify a charge": (12.0, 10.0),
    "Starlette middleware adds to a free route": (15.0, None),
    "verify a voucher, v1": (70.0, 30.0),
    "verify a voucher, v2": (70.0, 30.0),
    # 6,000 requests a second on one core.
    "sessions, raw ASGI, SQLite FULL: cpu": (166.0, 0.15),
    "sessions, raw ASGI, SQLite FULL: p99": (20.0, None),
    "sessions, memory, voucher 100,000 to voucher 1": (1.2, None),
    "sessions, SQLite FULL, voucher 100,000 to voucher 1": (1.2, None),
    "sessions, SQLite FULL, metering: a unit, its window included": (10.0, None),
    "time to the first event, first token after 50 ms: paid to free": (1.1, None),
    "read and verify a Solana voucher": (75.0, None),
    "a Solana voucher, whole gate, memory": (NO_LIMIT, 15.0),
    # 5,000 requests a second on one core.
    "Solana sessions, raw ASGI, SQLite FULL: cpu": (200.0, None),
    "Solana local chain, a sponsored transfer: executed": (1_000.0, None),
    "Solana local chain, a sponsored transfer: over HTTP, wall": (1_000.0, None),
    "Solana, 50 charges at once, confirmed after 400 ms, own fee: all served": (1_000.0, None),
    "Solana, 50 charges at once, confirmed after 400 ms, sponsored: all served": (1_000.0, None),
}
# What the README tells of.
READ = (
    "issue a 402",
    "issue a 402, whole gate",
    "re-verify a charge",
    "re-verify a charge, whole gate, memory",
    "a Solana voucher, whole gate, memory",
    "sessions, raw ASGI, SQLite FULL: requests",
    "sessions, raw ASGI, SQLite FULL: p99",
    "sessions, SQLite FULL, metering: a unit, its window included",
    "Solana sessions, raw ASGI, SQLite FULL: requests",
    "Solana sessions, raw ASGI, SQLite FULL: p99",
)
README, NUMBERS = HERE.parent / "README.md", "<!-- numbers: bench/results.json -->"

Row = dict[str, Any]


def settle() -> None:
    """Stay on one core, and leave another to whoever asks over HTTP."""
    cores = sorted(available())
    os.environ["BENCH_CORES"] = f"{cores[0]},{cores[-1]}"
    pin(cores[0])


def verdict(row: Row) -> str:
    """Whether a row holds its line, if it has one."""
    if row["name"] not in LINES:
        return ""
    limit, ratio = LINES[row["name"]]
    held = row["value"] <= limit and (ratio is None or row["ratio"] is None or row["ratio"] >= ratio)
    wanted = [f"{limit:g} {row['unit']}"] if limit != NO_LIMIT else []
    wanted += [f"{ratio:g} x"] if ratio else []
    return f"line: {', '.join(wanted)}: {'held' if held else 'MISSED'}"


def shown(row: Row) -> str:
    """A row for people."""
    beside = f"{row['peer']} {row['peer_value']:g} {row['unit']}, {row['ratio']:g} x" if row["peer"] else ""
    return f"{row['name']:<66}{row['value']:>10,.1f} {row['unit']:<4} {beside:<44} {verdict(row)}".rstrip()


def _told(row: Row) -> str:
    """A row of the README's table; tests/test_reference.py reads it back."""
    beside = ("", "")
    if row["peer"]:
        beside = (f"{row['peer']}: {row['peer_value']:g} {row['unit']}", f"{row['ratio']:g} x")
    return f"| {row['name']} | {row['value']:g} {row['unit']} | {beside[0]} | {beside[1]} |"


def tell_readme(rows: list[Row]) -> None:
    """Put the figures of READ into the README, so that it says what was measured."""
    text = README.read_text(encoding="utf-8")
    before, mark, after = text.partition(NUMBERS)
    _, heading, rest = after.partition("\n## ")
    told = [_told(row) for row in rows if row["name"] in READ]
    table = "\n".join(["| | coinslot | beside | ratio |", "| --- | --- | --- | --- |", *told])
    README.write_text(f"{before}{mark}\n\n{table}\n{heading}{rest}", encoding="utf-8")


def measure(names: Iterable[str]) -> tuple[list[Row], list[str]]:
    """The rows of these modules, printed as they come, and what was left out."""
    found: list[Row] = []
    missing: list[str] = []
    for name in names:
        if not (HERE / f"{name}.py").exists():
            missing.append(f"{name}: no such module")
            continue
        module = importlib.import_module(f"bench.{name}")
        reason = module.skipped() if hasattr(module, "skipped") else None
        if reason:
            missing.append(f"{name}: {reason}")
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        for row in module.rows():
            found.append(row)
            print("  " + shown(row), flush=True)
    return found, missing


def main() -> int:
    """Everything, or what is named; only the whole is written to results.json."""
    settle()
    asked = sys.argv[1:]
    found, missing = measure(asked or MODULES)
    for reason in missing:
        print(f"\nLeft out: {reason}", file=sys.stderr)
    if not asked:
        text = ",\n".join(json.dumps(row) for row in found)
        (HERE / "results.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
        tell_readme(found)
        print(f"\n{len(found)} rows in bench/results.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
