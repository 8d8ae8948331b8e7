"""What CI answers: its script run whole, with programs in place of make and the Pythons that do as they are told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "run"
# Whatever the script would install stands here already, so that nothing is installed.
PRESENT = ("strace", "apt-get", "python3.11", "python3.12", "python3.13")
MAKE = """#!/bin/sh
case "$1" in
  test) exit {test} ;;
  venv)
    for last; do case "$last" in VENV=*) room=${{last#VENV=}} ;; esac; done
    mkdir -p "$room/bin" && cp "$0-python" "$room/bin/python"
    exit {venv} ;;
esac
exit 64
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _answer(folder: Path, *, test: int = 0, venv: int = 0, newer: int = 0) -> subprocess.CompletedProcess[str]:
    """Run CI in a project in which these end so: the test command, a newer Python's installation, its tests."""
    (folder / ".ci").mkdir()
    shutil.copy(SCRIPT, folder / ".ci" / "run")
    programs = folder / "programs"
    programs.mkdir()
    _program(programs / "make", MAKE.format(test=test, venv=venv))
    _program(programs / "make-python", f"#!/bin/sh\necho 'its tests'\nexit {newer}\n")
    for name in PRESENT:
        _program(programs / name, "#!/bin/sh\nexit 0\n")
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), "TMPDIR": str(folder)}
    return subprocess.run(
        [folder / ".ci" / "run"], env=env, capture_output=True, text=True, timeout=60, cwd="/", check=False
    )


def test_ci_answers_that_all_is_well_when_every_python_passed(tmp_path: Path) -> None:
    found = _answer(tmp_path)
    assert (found.returncode, found.stdout.count("its tests")) == (0, 2), found.stderr


@pytest.mark.parametrize("failing", ["test", "venv", "newer"])
def test_ci_fails_with_any_one_of_its_parts(tmp_path: Path, failing: str) -> None:
    assert _answer(tmp_path, **{failing: 3}).returncode != 0


def test_ci_leaves_no_logs_behind(tmp_path: Path) -> None:
    _answer(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith("tmp.")) == []
