"""Compile the channel program in this folder again: `python -m coinslot.devnet.channels.solana.build`.

Needs clang 19.1.7 (Debian 12: `apt-get install clang-19`), which nobody else does: the program is committed beside its
source. The same source gives the same bytes on every machine with that compiler; a test compares them.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from coinslot.devnet.channels.solana.link import link
from coinslot.errors import ConfigError

COMPILER = "clang-19"
# Another patch of the same compiler may choose other instructions.
COMPILER_VERSION = "19.1.7"
SOURCE = "program.c"
FOLDER = Path(__file__).parent
PROGRAM = FOLDER / "channel.so"
# A second on a quiet machine.
COMPILE_S = 60.0
FLAGS = (
    *("-target", "bpf"),
    # the newest whose instructions the chain's first machine all knows: v3 compares 32 bits
    "-mcpu=v2",
    "-O2",
    # the machine has no library, so no loop may become a call of memcpy
    *("-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-jump-tables"),
    # the chain gives every function 4 KiB of stack, the kernel that this target is for 512 bytes
    *("-mllvm", "-bpf-stack-size=4096"),
    *("-Wall", "-Wextra", "-Werror"),
)


def compiler() -> str | None:
    """Where the compiler is on this machine, if it is there in the version that the committed program is made with."""
    clang = shutil.which(COMPILER)
    if clang is None:
        return None
    told = subprocess.run([clang, "--version"], capture_output=True, text=True, timeout=COMPILE_S, check=False).stdout
    return clang if f"clang version {COMPILER_VERSION} " in told else None


def build() -> bytes:
    """What clang and our linker make of the source.

    Raises ConfigError without clang, or where it refuses the source.
    """
    clang = compiler()
    if clang is None:
        raise ConfigError(f"no {COMPILER} {COMPILER_VERSION} on this machine")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "program.o"
        # by name only and from its own folder: no path of this machine can get into the code
        command = [clang, *FLAGS, "-c", SOURCE, "-o", str(target)]
        try:
            subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=COMPILE_S, check=True)
        except subprocess.CalledProcessError as error:
            raise ConfigError(f"{COMPILER} can't compile {SOURCE}: {error.stderr.strip()[-1000:]}") from error
        return link(target.read_bytes())


def main() -> None:
    """Write the program, and print its size and the SHA-256 that program.py must pin."""
    elf = build()
    PROGRAM.write_bytes(elf)
    sys.stdout.write(f"{PROGRAM.name}: {len(elf)} bytes, sha256 {hashlib.sha256(elf).hexdigest()}\n")


if __name__ == "__main__":
    main()
