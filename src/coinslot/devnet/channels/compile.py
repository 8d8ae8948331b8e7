"""Compile the contracts in this folder again: `python -m coinslot.devnet.channels.compile`.

Needs vyper 0.4.3 (`pip install vyper==0.4.3`), which nobody else does: the bytecode is committed beside its source. The
same source gives the same bytes on every machine; a test compares them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from coinslot.errors import ConfigError

COMPILER = "0.4.3"
SOURCES = ("reserve", "escrow")
FOLDER = Path(__file__).parent
# Half a second each on a quiet machine.
COMPILE_S = 60.0


def runtime_code(name: str, python: Path | None = None) -> bytes:
    """What vyper makes of a source: the code that stands on the chain. `python` has vyper, or this one does.

    Raises ConfigError without vyper, or where it refuses the source.
    """
    # by name only and from its own folder: no path of this machine can get into the code
    command = [python or sys.executable, "-m", "vyper.cli.vyper_compile", "-f", "bytecode_runtime", f"{name}.vy"]
    try:
        done = subprocess.run(
            command,
            cwd=FOLDER,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=COMPILE_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"vyper {COMPILER} can't compile {name}.vy: {error.stderr.strip()[-1000:]}") from error
    return bytes.fromhex(done.stdout.strip().removeprefix("0x"))


def committed_code(name: str) -> bytes:
    """The bytecode beside the source."""
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text(encoding="ascii").strip())


def main() -> None:
    """Write the bytecode of every source, and print its size and SHA-256."""
    for name in SOURCES:
        code = runtime_code(name)
        (FOLDER / f"{name}.hex").write_text(code.hex() + "\n", encoding="ascii")
        sys.stdout.write(f"{name}: {len(code)} bytes, sha256 {hashlib.sha256(code).hexdigest()}\n")


if __name__ == "__main__":
    main()
