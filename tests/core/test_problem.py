"""Problem details as they travel."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot import errors
from coinslot.core.problem import BASE, MAX_PROBLEM_BYTES, problem_body, problem_slug

PROBLEMS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.Problem)]


@pytest.mark.spec("CORE-059", "CORE-060")
@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_body_says_what_went_wrong(kind: type[errors.Problem]) -> None:
    """Type under the canonical base, title, status and detail; and clients read the type back."""
    body = problem_body(kind("no tea", reference="0xab"), challengeId="i", none=None)
    told = json.loads(body)
    assert told == {
        "type": f"https://paymentauth.org/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": "no tea",
        "reference": "0xab",
        "challengeId": "i",
    }
    assert problem_slug(body) == kind.slug


@pytest.mark.spec("CORE-060")
@pytest.mark.parametrize(
    ("kind", "slug", "status"),
    [
        (errors.PaymentRequired, "payment-required", 402),
        (errors.PaymentInsufficient, "payment-insufficient", 402),
        (errors.PaymentExpired, "payment-expired", 402),
        (errors.VerificationFailed, "verification-failed", 402),
        (errors.MethodUnsupported, "method-unsupported", 400),
        (errors.MalformedCredential, "malformed-credential", 402),
        (errors.InvalidChallenge, "invalid-challenge", 402),
    ],
)
def test_the_document_s_problems_have_its_names(kind: type[errors.Problem], slug: str, status: int) -> None:
    """The table of section 8, word for word."""
    assert (kind.slug, kind.status) == (slug, status)


def test_extensions_don_t_overrule() -> None:
    """A member of a method can't pass for the problem's own."""
    told = json.loads(problem_body(errors.PaymentRequired(), type="x", status=200, requiredTopUp="7"))
    assert (told["type"], told["status"], told["requiredTopUp"]) == (BASE + "payment-required", 402, "7")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_arbitrary_bodies_are_no_problem(body: bytes) -> None:
    """A client reading an error page never fails because of it."""
    assert problem_slug(body) is None


@pytest.mark.parametrize(
    "kind",
    ["", 7, None, "a/b\\u001b[2J", "x" * 65, "a/Payment Required", "about:blank", f"{BASE}nöö", "https://x/"],
)
def test_only_plain_words_are_reported(kind: object) -> None:
    """It ends on terminals and in logs: no escape sequences, no novels."""
    assert problem_slug(json.dumps({"type": kind}).encode()) is None


def test_a_huge_body_is_not_read() -> None:
    """An error page of a megabyte is not a problem."""
    told = {"type": BASE + "payment-required", "detail": "x" * MAX_PROBLEM_BYTES}
    assert problem_slug(json.dumps(told).encode()) is None
    assert problem_slug(b"[" * 50_000) is None


def test_foreign_bases_and_kinds_are_understood() -> None:
    """Deployed servers have kinds that the document doesn't."""
    assert problem_slug(b'{"type":"https://example.org/p/invalid-payload"}') == "invalid-payload"
    assert problem_slug(b'{"type":"payment-action-required"}') == "payment-action-required"
    assert problem_slug(b'{"type":"https://paymentauth.org/problems/payment_invalid"}') == "payment_invalid"


@pytest.mark.guard("T41")
def test_brackets_never_reach_the_decoders_recursion() -> None:
    """Also in a program that raised its recursion limit, where a decoder would run off the stack."""
    program = (
        "import sys; sys.setrecursionlimit(10**6)\n"
        "from coinslot.core.problem import problem_slug\n"
        "assert problem_slug(b'[' * 60_000) is None\n"
        "assert problem_slug(b'{\"type\":' * 7_000) is None\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
