"""Writes docs/security.md: each attack and fault that the code names, where it is met, and which tests prove it.

    python docs/guards.py                   after guards, or the tests that prove them, have changed

A guard names its threat (T..) or fault (F..) in the code. A test marked with the id proves it, and an entry in a
mutations.py takes the guard out and names the test that must then fail.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
THREATS = {
    "T01": "A charge's credential is sent again: at once, by another process, after a restart, after its time.",
    "T02": "A voucher is sent again.",
    "T03": "What was paid for one route is presented at another, dearer one.",
    "T04": "The body is exchanged after the payment.",
    "T05": "An observer of the chain presents somebody else's payment.",
    "T06": "One proof is used for several things.",
    "T07": "A payment on another chain or contract is presented.",
    "T08": "A voucher for a channel that was closed and opened anew.",
    "T09": "Two different texts lead to one MAC, or one JSON text is read in two ways.",
    "T10": "A challenge that is over, never ends, or whose end can be read in two ways.",
    "T11": "A challenge secret that is short, guessable, or lost in a rotation.",
    "T12": "A credential of another service or host.",
    "T13": "A signature that we would take and the chain would not (high s).",
    "T14": "Other spellings of a signature (v, compact forms).",
    "T15": "A signature that recovers to nobody, or to somebody else.",
    "T16": "An ed25519 signature in a spelling that some would take and others would not.",
    "T17": "An account that is a contract, where its signature is no proof.",
    "T18": "An access key that was revoked or has expired.",
    "T19": "A MAC is guessed by the time that its comparison takes.",
    "T20": "Amounts that are rounded, negative, too large, or no integers at all.",
    "T21": "Prices of zero are abused.",
    "T22": "A budget is overdrawn by many requests at once.",
    "T23": "A channel is closed for less than was spent, or more than was signed.",
    "T24": "The server claims more than was agreed.",
    "T25": "More is delivered than was paid, or lines are forged into a stream.",
    "T26": "Floods of dust, of channels, or of worthless vouchers.",
    "T27": "A payer that closes a channel and goes on spending.",
    "T28": "A payee that can't be paid: a missing or frozen account.",
    "T29": "Another token, or another amount, than was asked for.",
    "T30": "Something is smuggled into a payment that we co-sign.",
    "T31": "A sponsor is made to pay more than a fee: extra calls, gas, fee caps, long validity.",
    "T32": "A transaction that succeeds and moves nothing.",
    "T33": "Nodes that lag, forget or lie.",
    "T34": "The money is moved away between the check and the settlement.",
    "T35": "Somebody else settles first.",
    "T36": "A nonce is used twice, or left out, to block a sponsor.",
    "T37": "A credential leaks to another origin, by a redirect or over plain http.",
    "T38": "Secrets in logs, errors, reprs, metrics or databases.",
    "T39": "A 402 or a paid answer in somebody's cache.",
    "T40": "Text that ends a header, hides in quotes, or appears twice.",
    "T41": "Inputs that are huge, deep, or slow to refuse.",
    "T42": "Ways around a price: another header, method, spelling of a path, or protocol.",
    "T43": "A program that fetches is led to addresses inside.",
    "T44": "A proxy passes on what is private to either side.",
    "T45": "A facilitator that lies or is down.",
    "T46": "A server that asks to be paid for ever.",
    "T47": "Words of a server that are meant to steer whoever reads them.",
    "T48": "A refund is taken twice, or by somebody else.",
    "T49": "Keys and budgets of one tenant within reach of another.",
    "T50": "A forged or repeated webhook.",
    "T51": "A dependency that is not what it seems.",
    "F01": "The client dies between signing and recording.",
    "F02": "The client dies between recording and sending.",
    "F03": "The client dies, or its connection does, after the payment left and before the answer came.",
    "F04": "The client's record is lost.",
    "F05": "The client's record is an old copy.",
    "F06": "The server dies between the check and the record.",
    "F07": "The server dies between the record and the handler.",
    "F08": "The server dies in the middle of a handler or stream.",
    "F09": "The server dies between broadcasting and recording.",
    "F10": "The server dies between the settlement and the ledger.",
    "F11": "A node does not answer, after it took the transaction.",
    "F12": "A replica that does not know yet what another one knows.",
    "F13": "A transaction that dies unmined, or is undone.",
    "F14": "The same request is delivered twice.",
    "F15": "Two workers on one payment.",
    "F16": "Writers starve, or the database stays locked.",
    "F17": "A full disk, or an fsync that fails.",
    "F18": "Power fails before what was written has reached the disk.",
    "F19": "A database fails over in the middle of a commit.",
    "F20": "A cache forgets.",
    "F21": "Clocks that jump.",
    "F22": "An old and a new program on one database.",
    "F23": "The challenge secret is rotated while payments are under way.",
    "F24": "A facilitator that settles and then fails to answer.",
    "F25": "A lock whose holder has died.",
    "F26": "A settler that is down for too long.",
    "F27": "A server that is restored from a backup.",
    "F28": "Memory that grows with what has been.",
    "F29": "A task is cancelled at any of its awaits.",
}
INTRODUCTION = """\
# Security: what is met where, and what proves it

Written by `python docs/guards.py`; a test fails when it is out of date. How to report a weakness, and what counts as
one, stands in [SECURITY.md](../SECURITY.md).

Lines of the code that exist because of an attack (T) or a fault (F) name it. CI fails for an id without a test that is
marked with it, and for a guard that can be taken out of the code without that test failing: the `mutations.py` files
under tests/ list such removals.
"""
_ID = re.compile(r"\b([TF](?!00)\d\d)\b")


def _named() -> dict[str, list[str]]:
    """Files of the code by id."""
    found: dict[str, list[str]] = {}
    source = ROOT / "src" / "coinslot"
    for path in sorted(source.rglob("*.py")):
        for each in sorted(set(_ID.findall(path.read_text(encoding="utf-8")))):
            found.setdefault(each, []).append(path.relative_to(source).as_posix())
    return found


def _tests() -> Iterator[tuple[str, str]]:
    """(id, test) for each mark, tests as file::function."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "node_modules" in path.parts:
            continue
        pending: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("@pytest.mark.guard("):
                pending += _ID.findall(line)
            function = re.match(r"(?:async )?def (test_\w+)", line)
            if function:
                where = path.relative_to(ROOT / "tests").as_posix()
                yield from ((each, f"{where}::{function[1]}") for each in pending)
                pending = []


def text() -> str:
    """The whole page."""
    named = _named()
    tests: dict[str, list[str]] = {}
    for each, test in _tests():
        tests.setdefault(each, []).append(test)
    lines = [INTRODUCTION]
    for title, letter in (("Attacks", "T"), ("Faults", "F")):
        lines += [f"## {title}", "", "| id | what | where | proven by |", "| --- | --- | --- | --- |"]
        for each in sorted(one for one in named if one.startswith(letter)):
            where = "<br>".join(f"`{path}`" for path in named[each])
            proofs = "<br>".join(f"`{test}`" for test in tests.get(each, [])) or "-"
            lines.append(f"| {each} | {THREATS.get(each, 'NOT DESCRIBED YET')} | {where} | {proofs} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (HERE / "security.md").write_text(text(), encoding="utf-8")
    sys.stdout.write("docs/security.md\n")
