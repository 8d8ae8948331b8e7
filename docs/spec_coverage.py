"""Writes docs/spec-coverage.md: which requirements of the specification a test names, and why some have none.

    python docs/spec_coverage.py            after marks or requirements.tsv have changed

requirements.tsv lists, for each document, its requirements by id, level, whom they bind and section; what they say
stands in the specification itself. A test claims one with `@pytest.mark.spec("CORE-012")`.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENTS = {
    "CORE": ("draft-httpauth-payment-00", "the scheme itself: challenge, credential, receipt, errors, preferences"),
    "CHG": ("draft-payment-intent-charge-00", "the charge intent: one payment for one request"),
    "TCHG": ("draft-tempo-charge-00", "charges by Tempo transactions"),
    "TSES": ("draft-tempo-session-00", "sessions on Tempo: payment channels and their vouchers"),
    "SCHG": ("draft-solana-charge-00", "charges by Solana transactions"),
    "SSES": ("draft-solana-session-00", "sessions on Solana: channels of a program, and their vouchers"),
    "DISC": ("draft-payment-discovery-00", "prices in OpenAPI documents"),
}
# Those that bind authors of other documents are not for programs to satisfy.
OURS = "SCWB"
CONFIDENTIAL = (
    "confidential payments are refused whole: the local chain has no program that checks their proofs, so that nothing "
    "of them could be tried"
)
CURVES = "signers on other curves are not supported: what they would need is for documents that define them"
BALANCE = "nobody can promise a balance: a sponsor looks before it signs whether it can pay, and else says 503"
# Every MUST of ours that no test names, with its reason.
GAPS = {
    "CORE-080": "the gate serves plain http where TLS ends in front of it, and on loopback for first steps; it can't "
    "tell a trusted proxy from none. Our client refuses to pay such a server, loopback excepted",
    **dict.fromkeys(("TCHG-046", "TSES-049", "SCHG-071"), BALANCE),
    "TSES-108": "a channel that is being opened has settled nothing, so any amount is at or above it",
    "TSES-164": "idempotency is implemented",
    "TSES-198": "it says MAY: a limit by address belongs to the proxy in front, which sees addresses",
    "TSES-200": "it says MAY: a lower voucher is verified too, so that only its signer learns how the channel stands",
    "TSES-224": "about the document's own examples",
    **dict.fromkeys(
        (
            "SCHG-001",
            "SCHG-100",
            "SCHG-101",
            "SCHG-116",
            "SCHG-142",
            "SCHG-147",
            "SCHG-148",
            "SCHG-173",
        ),
        CONFIDENTIAL,
    ),
    **dict.fromkeys(("SSES-173", "SSES-174", "SSES-175", "SSES-176", "SSES-177", "SSES-293"), CURVES),
    "SSES-262": "whose keys a wallet holds, and for how long, is its owner's to decide; a voucher_key is a setting",
}
# Where the letter leaves room, or where we leave it on purpose.
READINGS = {
    "CORE-001": "never 402 for a credential that has paid, since an automatic client would pay twice: 409 while it is "
    "under way, 503 while its outcome is not known, the stored outcome once it is delivered",
    "CORE-077": "of the versions of TLS, as CHG-025, SCHG-179 and SSES-248: behind what ends TLS a gate speaks plain "
    "http (CORE-080)",
    "TCHG-043": "by default the version that deployed SDKs demand (3, which names account and realm); the document's "
    "(1) by setting, since what it signs names no server",
    "TSES-135": "where content is asked for. About a v2 channel alone a lower voucher is answered with how the channel "
    "stands; it buys nothing and changes nothing",
    "SCHG-135": "every bundle is refused, and every confidential charge: what is to be rejected under some condition "
    "is rejected under every one, and that is all that the marks of confidential payments say",
    "SCHG-176": "these three for what is refused; 503 and 409 as everywhere here where an outcome is not known, or a "
    "payment was made before",
    "SCHG-178": "all but those that a payer must not answer by paying again: 409, 503 (SCHG-176), and 429",
    "SCHG-189": "who else pays the fee can take nothing by it, so only the wallet itself is refused",
    "SSES-086": "15 recipients and not 32: each takes 34 bytes of an opening, and 32 of them no transaction can carry",
    "SSES-185": "an answer in one piece is signed for before it is sent. Of a stream each window is set aside durably "
    "before it is sent, and what was sent of it signed for with the next one or at its end: more would be signed for "
    "what may never be sent (SSES-187)",
    "SSES-193": "by default. With the setting `credit_units` streams come first and are paid for afterwards, up to so "
    "much a channel",
    "SSES-245": "as SCHG-178",
    "CHG-011": "a replay is never taken as a payment and runs nothing; to the very same request it is answered with "
    "what was delivered, so that a client whose answer was lost need not pay again",
}
INTRODUCTION = """\
# Coverage of the specification

Written by `python docs/spec_coverage.py`; a test fails when it is out of date.

The specification is the set of documents at commit `f9506cd` of
[tempoxyz/mpp-specs](https://github.com/tempoxyz/mpp-specs). Its requirements have ids here: the document's short name
and a number, counted from its top (`CORE-012` is the twelfth place in CORE that says MUST or SHOULD).
`requirements.tsv`, beside this page, lists them with level, section and whom they bind: `S` server, `C` client, `W` the
wire, `B` both sides, `A` authors of further documents.

`@pytest.mark.spec("CORE-012")` on a test says that one of its assertions fails if that requirement is broken;
`grep -rn CORE-012 tests` finds it.
"""
_MARK = re.compile(r"\bspec\(([^)]*)\)", re.DOTALL)
_ID = re.compile(r"\b([A-Z]{3,4}-\d{3})\b")


@dataclass(frozen=True)
class Requirement:
    """A line of requirements.tsv. `level` is MUST or SHOULD (with NOT), `actor` one letter."""

    id: str
    level: str
    actor: str
    section: str

    @property
    def document(self) -> str:
        """CORE, CHG ..."""
        return self.id.rpartition("-")[0]

    @property
    def is_ours(self) -> bool:
        """Whether a program can satisfy it."""
        return self.actor in OURS

    @property
    def is_must(self) -> bool:
        """MUST or MUST NOT."""
        return self.level.startswith("MUST")


def requirements() -> list[Requirement]:
    """All of them, in order."""
    with (HERE / "requirements.tsv").open(encoding="utf-8", newline="") as file:
        return [Requirement(*row) for row in csv.reader(file, delimiter="\t")]


def marked() -> set[str]:
    """The ids that tests name."""
    found: set[str] = set()
    for path in (HERE.parent / "tests").rglob("*.py"):
        if "node_modules" not in path.parts:
            for mark in _MARK.finditer(path.read_text(encoding="utf-8")):
                found |= set(_ID.findall(mark[1]))
    return found


def _ids(rows: list[Requirement]) -> str:
    return ", ".join(row.id.rpartition("-")[2] for row in rows) or "-"


def _document(code: str, rows: list[Requirement], have: set[str]) -> list[str]:
    name, subject = DOCUMENTS[code]
    ours = [row for row in rows if row.is_ours]
    musts = [row for row in ours if row.is_must]
    done = [row for row in musts if row.id in have]
    share = f"**{len(done)} of {len(musts)}** ({100 * len(done) / len(musts):.1f} %)"
    lines = [
        f"## {code}: {name}",
        "",
        f"{subject[0].upper()}{subject[1:]}. Of the MUSTs that bind a server, client or the wire {share} have a test.",
        "",
        "| section | MUST, tested | MUST, not tested | SHOULD, tested | SHOULD, not tested |",
        "| --- | --- | --- | --- | --- |",
    ]
    for section in dict.fromkeys(row.section for row in ours):
        here = [row for row in ours if row.section == section]
        cells = [
            _ids([row for row in here if row.is_must == must and (row.id in have) == tested])
            for must, tested in ((True, True), (True, False), (False, True), (False, False))
        ]
        lines.append(f"| {section} | {' | '.join(cells)} |")
    gaps = [row for row in musts if row.id not in have]
    readings = [f"- {each}: {READINGS[each]}." for each in READINGS if each.startswith(f"{code}-")]
    if gaps:
        lines += [
            "",
            "No test names these:",
            "",
            *(f"- {row.id}: {GAPS.get(row.id, 'NO REASON YET')}." for row in gaps),
        ]
    if readings:
        lines += ["", "How we read these:", "", *readings]
    return [*lines, ""]


def text() -> str:
    """The whole page."""
    rows, have = requirements(), marked()
    lines = [INTRODUCTION]
    for code in DOCUMENTS:
        lines += _document(code, [row for row in rows if row.document == code], have)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (HERE / "spec-coverage.md").write_text(text(), encoding="utf-8")
    sys.stdout.write("docs/spec-coverage.md\n")
