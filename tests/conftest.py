"""What every test shares: hypothesis profiles, the rule for skips in CI, the plugins in tests/support/."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, Phase, settings

_SUPPORT = Path(__file__).parent / "support"
# Fixtures that several folders use live in tests/support/, one file per program or part.
pytest_plugins = [
    f"support.{path.stem}" for path in sorted(_SUPPORT.glob("*.py")) if "@pytest.fixture" in path.read_text()
]
# They import each other, in any order; each must be known as a plugin before the first of them is imported.
pytest.register_assert_rewrite(*pytest_plugins)

# httpx gives up after five seconds. On a busy machine an answer may take longer, and nothing is wrong with that.
for _part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _part, 60.0)

IN_CI = os.environ.get("CI", "") == "true"
SOAKING = os.environ.get("COINSLOT_SOAK", "") == "1"
# A skip in CI must say that the test has no meaning there; anything else is a missing program, and fails.
EXCUSE = "not applicable"

# `ci` finds the same examples on every machine; `soak` searches anew each time and reports what it found; `mutation`
# finds what `ci` finds, and looks for no smaller example; `newer` is for Pythons on which all that runs again.
settings.register_profile(
    "ci", max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "soak", max_examples=10_000, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck)
)
settings.register_profile("mutation", settings.get_profile("ci"), phases=[Phase.explicit, Phase.reuse, Phase.generate])
settings.register_profile("newer", settings.get_profile("ci"), max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """What a file's tests left open fails them, and not whichever test runs when it is collected. From Python 3.13 on
    that goes for database connections, too.
    """
    yield
    if sys.version_info >= (3, 13):
        gc.collect()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `soak` run only with COINSLOT_SOAK=1."""
    if SOAKING:
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure, unless its reason begins with EXCUSE or it is an expected failure."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(EXCUSE):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test fails."""
    report = yield
    if IN_CI:
        refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a skipped module fails."""
    report = yield
    if IN_CI:
        refuse_skip(report)
    return report
