"""A linker for one BPF object: what clang makes of program.c becomes a shared object that the chain's loader takes.

clang knows the instructions of the target but brings no linker for it. This one does what a single unit needs: it
puts code and constants at fixed addresses, writes those addresses into the code, and leaves calls of the chain's own
functions (syscalls) as dynamic relocations, by name. Anything else in the object is refused. The output depends on the
input alone.

Layout: ELF header, program headers, .text, .rodata, .dynamic, .dynsym, .dynstr, .rel.dyn, .shstrtab, section headers.
Addresses are file offsets; the loader adds 0x1_0000_0000.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from coinslot.errors import ConfigError

CODE_BASE = 0x1_0000_0000  # where the machine sees offset 0 of the file
ENTRYPOINT = "entrypoint"
INSTRUCTION_LEN = 8
LONG_LOAD = 0x18  # the opcode that loads 64 bits: two instructions, half of the number in each
CALL = 0x85

ET_REL, ET_DYN, EM_BPF = 1, 3, 247
SHT_PROGBITS, SHT_STRTAB, SHT_DYNAMIC, SHT_REL, SHT_DYNSYM = 1, 3, 6, 9, 11
SHF_ALLOC, SHF_EXECINSTR = 2, 4
PT_LOAD, PT_DYNAMIC = 1, 2
PF_X, PF_R = 1, 4
DT_NULL, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_REL, DT_RELSZ, DT_RELENT = 0, 5, 6, 10, 11, 17, 18, 19
R_BPF_64_64, R_BPF_64_32 = 1, 10
GLOBAL_FUNCTION, GLOBAL_UNKNOWN = 0x12, 0x10

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QQ")
MAGIC = b"\x7fELF\x02\x01\x01" + bytes(9)
PROGRAM_HEADERS = 4


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the object, with its header's fields that matter here."""

    name: str
    kind: int
    flags: int
    data: bytes
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol of the object: its section's index (0: not defined here) and its place there."""

    name: str
    section: int
    value: int


def text_at(strings: bytes, at: int) -> str:
    """The zero-terminated string at a place of a string table."""
    return strings[at : strings.index(0, at)].decode("ascii")


def read_sections(elf: bytes) -> list[Section]:
    """Every section of a relocatable BPF object. Raises ConfigError where it is something else."""
    fields = HEADER.unpack_from(elf)
    kind, machine, sections_at, count, names_index = fields[1], fields[2], fields[6], fields[12], fields[13]
    if fields[0][:7] != MAGIC[:7] or kind != ET_REL or machine != EM_BPF:
        raise ConfigError("not a relocatable BPF object")
    headers = [SECTION_HEADER.unpack_from(elf, sections_at + index * SECTION_HEADER.size) for index in range(count)]
    names = elf[headers[names_index][4] :]
    return [Section(text_at(names, h[0]), h[1], h[2], elf[h[4] : h[4] + h[5]], h[6], h[7]) for h in headers]


def read_symbols(sections: list[Section]) -> list[Symbol]:
    """The symbol table of the object."""
    table = next(section for section in sections if section.name == ".symtab")
    strings = sections[table.link].data
    found = []
    for name, _info, _other, section, value, _size in SYMBOL.iter_unpack(table.data):
        found.append(Symbol(text_at(strings, name), section, value))
    return found


@dataclass(slots=True)
class Image:
    """The parts of the output. `calls` holds the offset in the code of every call by name."""

    text: bytearray
    rodata: bytes
    entry: int
    calls: list[tuple[int, str]] = field(default_factory=list)

    @property
    def text_at(self) -> int:
        """The address of the code."""
        return HEADER.size + PROGRAM_HEADERS * PROGRAM_HEADER.size

    @property
    def rodata_at(self) -> int:
        """The address of the constants."""
        return aligned(self.text_at + len(self.text))


def aligned(offset: int) -> int:
    """The next place where 8 bytes may begin."""
    return (offset + 7) & ~7


def read_image(sections: list[Section]) -> Image:
    """Code and constants of the object, resolved. Raises ConfigError for a section or relocation not foreseen."""
    symbols = read_symbols(sections)
    kept = {".text", ".rodata"}
    for section in sections:
        if section.flags & SHF_ALLOC and section.name not in kept:
            raise ConfigError(f"the object has a section {section.name}: only code and constants can be linked")
    index = {section.name: number for number, section in enumerate(sections)}
    entry = next((s.value for s in symbols if s.name == ENTRYPOINT and s.section == index[".text"]), None)
    if entry is None:
        raise ConfigError(f"the object defines no function {ENTRYPOINT}")
    rodata = sections[index[".rodata"]].data if ".rodata" in index else b""
    image = Image(bytearray(sections[index[".text"]].data), rodata, entry)
    for section in sections:
        if section.kind != SHT_REL:
            continue
        if sections[section.info].name != ".text":
            raise ConfigError(f"{section.name}: constants must not hold addresses")
        for at, info in RELOCATION.iter_unpack(section.data):
            relocate(image, at, info & 0xFFFFFFFF, symbols[info >> 32], index)
    return image


def relocate(image: Image, at: int, kind: int, symbol: Symbol, index: dict[str, int]) -> None:
    """Write one address into the code, or note the call of a syscall."""
    opcode = image.text[at]
    if kind == R_BPF_64_64 and opcode == LONG_LOAD and symbol.section == index.get(".rodata"):
        low = at + 4
        high = low + INSTRUCTION_LEN
        address = CODE_BASE + image.rodata_at + symbol.value + struct.unpack_from("<I", image.text, low)[0]
        struct.pack_into("<I", image.text, low, address & 0xFFFFFFFF)
        struct.pack_into("<I", image.text, high, address >> 32)
    elif kind == R_BPF_64_32 and opcode == CALL and symbol.section == 0:
        image.calls.append((at, symbol.name))
    else:
        raise ConfigError(f"relocation {kind} against {symbol.name or 'a section'} at {at:#x} can't be linked")


def link(elf: bytes) -> bytes:
    """The shared object for the chain's loader, out of one relocatable BPF object.

    Raises ConfigError for what this linker doesn't know.
    """
    return write_image(read_image(read_sections(elf)))


def write_image(image: Image) -> bytes:
    """Lay the parts out and write every header."""
    names = sorted({name for _, name in image.calls})
    strings = bytearray(b"\0")
    dynsym = bytearray(SYMBOL.pack(0, 0, 0, 0, 0, 0))
    for name in [*names, ENTRYPOINT]:
        own = name == ENTRYPOINT
        value = image.text_at + image.entry if own else 0
        dynsym += SYMBOL.pack(len(strings), GLOBAL_FUNCTION if own else GLOBAL_UNKNOWN, 0, int(own), value, 0)
        strings += name.encode("ascii") + b"\0"
    number = {name: 1 + place for place, name in enumerate(names)}
    relocations = b"".join(
        RELOCATION.pack(image.text_at + at, number[name] << 32 | R_BPF_64_32) for at, name in sorted(image.calls)
    )

    dynamic_at = aligned(image.rodata_at + len(image.rodata))
    dynamic_len = 8 * 16
    dynsym_at = dynamic_at + dynamic_len
    dynstr_at = dynsym_at + len(dynsym)
    reldyn_at = aligned(dynstr_at + len(strings))
    dynamic = b"".join(
        struct.pack("<QQ", tag, value)
        for tag, value in (
            (DT_REL, reldyn_at),
            (DT_RELSZ, len(relocations)),
            (DT_RELENT, RELOCATION.size),
            (DT_SYMTAB, dynsym_at),
            (DT_SYMENT, SYMBOL.size),
            (DT_STRTAB, dynstr_at),
            (DT_STRSZ, len(strings)),
            (DT_NULL, 0),
        )
    )
    # name, kind, flags, place, bytes, link, info, size of an entry
    parts = [
        (".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, image.text_at, bytes(image.text), 0, 0, 0),
        (".rodata", SHT_PROGBITS, SHF_ALLOC, image.rodata_at, image.rodata, 0, 0, 0),
        (".dynamic", SHT_DYNAMIC, SHF_ALLOC, dynamic_at, dynamic, 5, 0, 16),
        (".dynsym", SHT_DYNSYM, SHF_ALLOC, dynsym_at, bytes(dynsym), 5, 1, SYMBOL.size),
        (".dynstr", SHT_STRTAB, SHF_ALLOC, dynstr_at, bytes(strings), 0, 0, 0),
        (".rel.dyn", SHT_REL, SHF_ALLOC, reldyn_at, relocations, 4, 0, RELOCATION.size),
    ]
    segments = [
        (PT_LOAD, PF_R | PF_X, image.text_at, len(image.text)),
        (PT_LOAD, PF_R, image.rodata_at, len(image.rodata)),
        (PT_LOAD, PF_R, dynamic_at, reldyn_at + len(relocations) - dynamic_at),
        (PT_DYNAMIC, PF_R, dynamic_at, dynamic_len),
    ]
    return assemble(image.text_at + image.entry, segments, parts)


def assemble(
    entry: int,
    segments: list[tuple[int, int, int, int]],
    parts: list[tuple[str, int, int, int, bytes, int, int, int]],
) -> bytes:
    """The file: header, program headers, every part at its place, the section headers."""
    names = bytearray(b"\0")
    headers = bytearray(SECTION_HEADER.size)
    end = parts[-1][3] + len(parts[-1][4])
    for name, kind, flags, at, data, link_to, info, entry_len in parts:
        headers += SECTION_HEADER.pack(len(names), kind, flags, at, at, len(data), link_to, info, 8, entry_len)
        names += name.encode("ascii") + b"\0"
    names_name = len(names)
    names += b".shstrtab\0"
    headers += SECTION_HEADER.pack(names_name, SHT_STRTAB, 0, 0, end, len(names), 0, 0, 1, 0)
    headers_at = aligned(end + len(names))

    out = bytearray(headers_at)
    count = len(parts) + 2
    sizes = (HEADER.size, PROGRAM_HEADER.size, len(segments), SECTION_HEADER.size, count, count - 1)
    HEADER.pack_into(out, 0, MAGIC, ET_DYN, EM_BPF, 1, entry, HEADER.size, headers_at, 0, *sizes)
    for place, (kind, flags, at, length) in enumerate(segments):
        where = HEADER.size + place * PROGRAM_HEADER.size
        PROGRAM_HEADER.pack_into(out, where, kind, flags, at, at, at, length, length, 8)
    for part in parts:
        out[part[3] : part[3] + len(part[4])] = part[4]
    out[end : end + len(names)] = names
    return bytes(out + headers)
