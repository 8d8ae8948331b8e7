"""The committed program is what its source compiles to; the linker refuses what it does not know."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from coinslot.devnet.channels.solana import program
from coinslot.devnet.channels.solana.build import COMPILER, COMPILER_VERSION, FOLDER, PROGRAM, build, compiler
from coinslot.devnet.channels.solana.link import (
    HEADER,
    SECTION_HEADER,
    Image,
    Section,
    Symbol,
    link,
    read_image,
    read_sections,
    relocate,
)
from coinslot.devnet.channels.solana.program import PROGRAM_ID, SHA256, TREASURY_OWNER, elf
from coinslot.errors import ConfigError, UsageError

CONSTANT = re.compile(r"static const u8 (\w+)\[32\] = \{([^}]*)\}")
NAMED = {
    "EVENT_AUTHORITY": str(Pubkey.find_program_address([b"event_authority"], Pubkey.from_string(PROGRAM_ID))[0]),
    "SPL_TOKEN": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
    "TOKEN_2022": "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb",
    "ASSOCIATED_TOKEN": "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL",
    "RENT_SYSVAR": "SysvarRent111111111111111111111111111111111",
    "INSTRUCTIONS_SYSVAR": "Sysvar1nstructions1111111111111111111111111",
    "ED25519_PROGRAM": "Ed25519SigVerify111111111111111111111111111",
    "SYSTEM_PROGRAM": "11111111111111111111111111111111",
    "TREASURY_OWNER": TREASURY_OWNER,
}


def needs_compiler() -> None:
    """Skip where the compiler is missing; in CI that is a failure."""
    if compiler() is None:
        pytest.skip(f"{COMPILER} {COMPILER_VERSION} is not installed: apt-get install {COMPILER} on Debian 12")


def test_the_committed_program_is_what_its_source_compiles_to() -> None:
    """Compiling the source again gives the committed bytes, whose hash is pinned."""
    assert hashlib.sha256(PROGRAM.read_bytes()).hexdigest() == SHA256
    assert elf() == PROGRAM.read_bytes()
    needs_compiler()
    assert hashlib.sha256(build()).hexdigest() == SHA256, "python -m coinslot.devnet.channels.solana.build"


def test_a_changed_program_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte is enough."""
    code = bytearray(PROGRAM.read_bytes())
    code[1000] ^= 1
    changed = tmp_path / "channel.so"
    changed.write_bytes(code)
    monkeypatch.setattr(program, "PROGRAM", changed)
    with pytest.raises(ConfigError, match="not the pinned program"):
        elf()


def test_the_addresses_in_the_source_are_those_of_their_names() -> None:
    """Every 32-byte constant of the source, derived or spelt out again here."""
    text = (FOLDER / "addresses.h").read_text(encoding="ascii")
    found = {
        name: bytes(int(each, 16) for each in body.split(",") if each.strip()) for name, body in CONSTANT.findall(text)
    }
    assert {name: str(Pubkey.from_bytes(raw)) for name, raw in found.items()} == NAMED
    bump = Pubkey.find_program_address([b"event_authority"], Pubkey.from_string(PROGRAM_ID))[1]
    assert f"#define EVENT_AUTHORITY_BUMP {bump}\n" in text


def test_the_treasury_s_owner_is_the_documented_placeholder_and_stands_there_once() -> None:
    """0xBEEF sixteen times; another owner takes exactly its place."""
    placeholder = bytes.fromhex("beef") * 16
    assert bytes(Pubkey.from_string(TREASURY_OWNER)) == placeholder
    assert elf().count(placeholder) == 1
    assert elf().count(placeholder[:4]) == 8, "no instruction holds a part of it"
    owner = Keypair().pubkey()
    assert elf(str(owner)).replace(bytes(owner), placeholder) == elf()
    with pytest.raises(UsageError):
        elf("treasury")


def test_the_wheel_would_hold_program_and_source() -> None:
    """hatch takes every file of the package; none of these is left out by a rule of git."""
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert {"channel.so", "program.c", "sdk.h", "link.py"} <= files
    ignored = (FOLDER.parents[4] / ".gitignore").read_text(encoding="utf-8").split()
    assert not {"*.so", "*.h", "*.c"} & set(ignored)


def test_only_bpf_objects_are_linked() -> None:
    """Not an object of this machine, and not the linked program itself."""
    with pytest.raises(ConfigError, match="BPF"):
        link(PROGRAM.read_bytes())
    header = bytearray(HEADER.size)
    header[:7] = b"\x7fELF\x02\x01\x01"
    struct.pack_into("<HH", header, 16, 1, 62)
    with pytest.raises(ConfigError, match="BPF"):
        read_sections(bytes(header))
    assert SECTION_HEADER.size == 64


def test_sections_that_could_be_written_are_refused() -> None:
    """The chain gives a program no writable globals: better no program than a wrong one."""
    table = Section(".symtab", 2, 0, bytes(24), 2, 0)
    sections = [
        Section("", 0, 0, b"", 0, 0),
        table,
        Section(".strtab", 3, 0, b"\0", 0, 0),
        Section(".text", 1, 6, bytes(8), 0, 0),
        Section(".data", 1, 3, bytes(8), 0, 0),
    ]
    with pytest.raises(ConfigError, match=r"\.data"):
        read_image(sections)
    with pytest.raises(ConfigError, match="entrypoint"):
        read_image(sections[:4])


@pytest.mark.parametrize(
    ("kind", "opcode", "section"),
    [(1, 0x18, 3), (1, 0x85, 4), (10, 0x85, 3), (10, 0x18, 0), (2, 0x18, 4), (3, 0x85, 0)],
)
def test_relocations_not_foreseen_are_refused(kind: int, opcode: int, section: int) -> None:
    """Only addresses of constants and calls of syscalls are."""
    image = Image(bytearray([opcode]) + bytearray(15), b"", 0)
    with pytest.raises(ConfigError, match="can't be linked"):
        relocate(image, 0, kind, Symbol("x", section, 0), {".text": 3, ".rodata": 4})
