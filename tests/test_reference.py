"""Documents that list what the code has are complete, true and up to date."""

from __future__ import annotations

import json
import re
import runpy
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coinslot.cli.output import ExitCode
from coinslot.client.purse import Policy
from coinslot.services import metrics
from coinslot.services.config import GateConfig, PriceTable, SettlerTable

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def table(text: str) -> list[list[str]]:
    """The cells of a Markdown table, its head left out."""
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def section(document: Path, mark: str) -> list[list[str]]:
    """The table between `<!-- MARK -->` and `<!-- end -->`."""
    text = document.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {re.escape(mark)} -->(.*?)<!-- end -->", text, re.DOTALL)
    assert found is not None, f"{document.name} has no section {mark!r}"
    return table(found[1])


def plain(value: object) -> str:
    """A default as it is documented."""
    if isinstance(value, int) or value is None or isinstance(value, str | list | dict):
        return f"`{json.dumps(value)}`"
    return f"`{value}`"


def struct_fields(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Name -> default as documented."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        if field.required:
            found[field.encode_name] = "required"
        else:
            default: Any = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            found[field.encode_name] = plain(default)
    return found


@pytest.mark.parametrize("kind", [GateConfig, PriceTable, SettlerTable])
def test_every_setting_of_the_gate_is_documented(kind: type[msgspec.Struct]) -> None:
    """Each field with its default, and nothing else."""
    told = section(DOCS / "gate.md", f"fields: {kind.__name__}")
    assert {name.strip("`"): default for name, default, *_ in told} == struct_fields(kind)


def test_every_limit_of_the_policy_is_documented() -> None:
    """Each field with its default, and nothing else."""
    known: dict[str, str] = {}
    for field in dataclass_fields(Policy):
        default: Any = field.default_factory() if field.default_factory is not MISSING else field.default
        known[field.name] = plain(dict(default) if field.name == "limits" else default)
    told = section(DOCS / "client.md", "fields: Policy")
    assert {name.strip("`"): default for name, default, *_ in told} == known


def test_every_counter_is_documented() -> None:
    """By its name."""
    exposed = re.findall(r"^# TYPE (\S+) counter$", metrics.Metrics().text(), re.MULTILINE)
    assert [name.strip("`") for name, *_ in section(DOCS / "gate.md", "metrics")] == exposed


def test_every_exit_code_is_documented() -> None:
    """In the README and for fetch."""
    codes = [str(code.value) for code in ExitCode if code is not ExitCode.INTERRUPTED]
    for document in (ROOT / "README.md", DOCS / "cli" / "fetch.md"):
        text = document.read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
        assert [row[0] for row in table(text)] == codes


@pytest.mark.parametrize(("script", "page"), [("spec_coverage.py", "spec-coverage.md"), ("guards.py", "security.md")])
def test_written_pages_are_up_to_date(script: str, page: str) -> None:
    """What the script would write is what stands there. To mend it: python docs/SCRIPT."""
    text: str = runpy.run_path(str(DOCS / script))["text"]()
    assert (DOCS / page).read_text(encoding="utf-8") == text, f"out of date; run: python docs/{script}"
    assert "NOT DESCRIBED YET" not in text
    assert "NO REASON YET" not in text


def test_gaps_are_gaps() -> None:
    """No requirement stands among the gaps that a test names, and marks of these documents name requirements."""
    coverage = runpy.run_path(str(DOCS / "spec_coverage.py"))
    marked: set[str] = coverage["marked"]()
    assert set(coverage["GAPS"]) & marked == set()
    known = {row.id for row in coverage["requirements"]()}
    ours = {each for each in marked if each.rpartition("-")[0] in coverage["DOCUMENTS"]}
    assert ours - known == set()


def test_the_figures_of_the_readme_were_measured() -> None:
    """Each row of its table is a row of bench/results.json."""
    measured = {row["name"]: row for row in json.loads((ROOT / "bench" / "results.json").read_text(encoding="utf-8"))}
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- numbers: bench/results.json -->")[2]
    rows = table(text.partition("\n## ")[0])
    assert rows
    for name, ours, theirs, ratio in rows:
        row = measured[name]
        assert ours == f"{row['value']:g} {row['unit']}", name
        assert theirs == (f"{row['peer']}: {row['peer_value']:g} {row['unit']}" if row["peer"] else ""), name
        assert ratio == (f"{row['ratio']:g} x" if row["peer"] else ""), name
