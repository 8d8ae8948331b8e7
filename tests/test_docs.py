"""Every command and snippet in the documents is run, in order, in a temporary folder of its document.

How a block is read:

- `python`: run as a program.
- `console`: each `$ ` line is a command that must succeed; the lines below it must appear in its output, in order,
  and `...` stands for anything. A command that ends with `&` runs until the end of the document; if it names a port
  (`--port N`, `--listen HOST:N`, `http.server N`), we wait until it answers there, as a reader waits for its greeting.
- `sh`: run as one script.
- `<!-- test: file NAME -->` before a block of any language: written to NAME; Python is run as well.
- `<!-- test: skip REASON -->` before a block: not run; the reason is required.

`make TARGET` is rehearsed (`make -n`) and `pip install` is checked against the extras we publish, not carried out.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RUNNABLE = {"python", "console", "sh"}
# A demo brings up a chain, which may have to be fetched first.
BLOCK_S = 150

BLOCK = re.compile(
    r"(?:^<!-- test: (?P<order>[^\n]*?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
PRELUDE = f"""set -eo pipefail
make() {{ command make -n -C {shlex.quote(str(ROOT))} "$@" >/dev/null; }}
pip() {{ {shlex.quote(sys.executable)} {shlex.quote(__file__)} "$@"; }}
listening() {{
  for _ in $(seq 300); do (: </dev/tcp/127.0.0.1/$1) 2>/dev/null && return 0; sleep 0.2; done
  echo "nothing listens on port $1:"; cat background.log; return 1
}}
"""
NAMED_PORT = re.compile(r"(?:--port[ =]|--listen[ =]\S*:|\bhttp\.server )(\d+)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document, and the order written above it."""

    document: Path
    line: int
    language: str
    body: str
    order: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> Iterator[Block]:
    """The fenced blocks of a document, from top to bottom."""
    text = document.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        indent, body = match["indent"], match["body"]
        body = "\n".join(line.removeprefix(indent) for line in body.split("\n"))
        line = text.count("\n", 0, match.start("language")) + 1
        yield Block(document, line, match["language"], body, match["order"] or "")


class Reader:
    """Someone who follows one document in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._groups: list[int] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COINSLOT_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = folder / "home"
        home.mkdir()
        self._environment = kept | {"PATH": path, "HOME": str(home), "PYTHONWARNINGS": "error"}
        for name in (".npm", ".npmrc", ".cache"):  # what was fetched once need not be fetched again
            if (Path.home() / name).exists():
                (home / name).symlink_to(Path.home() / name)

    def follow(self, block: Block) -> None:
        """Do what the block says; fail with its place when it does not work."""
        order, _, argument = block.order.partition(" ")
        assert order in {"", "skip", "file"}, f"{block}: unknown order {order!r}"
        assert not order or argument.strip(), f"{block}: `{order}` must say a reason or a name"
        if order == "skip":
            return
        if order == "file":
            (self._folder / argument).write_text(block.body, encoding="utf-8")
        if block.language == "python":
            program = self._folder / (argument if order == "file" else "snippet.py")
            program.write_text(block.body, encoding="utf-8")
            self._run([sys.executable, str(program)], block)
        elif block.language == "sh":
            self._run(["bash", "-c", PRELUDE + block.body], block)
        elif block.language == "console":
            self._console(block)

    def _run(self, command: list[str], block: Block) -> str:
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._groups.append(process.pid)
        try:
            output, _ = process.communicate(timeout=BLOCK_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"{block}: still running after {BLOCK_S} s\n{output}")
        assert process.returncode == 0, f"{block}: exit status {process.returncode}\n{output}"
        return output

    def _console(self, block: Block) -> None:
        script = PRELUDE
        shown: list[list[str]] = []
        for line in re.sub(r"\\\n(> ?)?", "", block.body).splitlines():
            if line.startswith("$ "):
                command = line.removeprefix("$ ").strip()
                if command.endswith("&"):
                    port = NAMED_PORT.search(command)
                    command = f"{command[:-1]} >>background.log 2>&1 &"
                    command += f"\nlistening {port[1]}" if port else ""
                script += f"{command}\nprintf '\\n=====\\n'\n"
                shown.append([])
            else:
                assert shown, f"{block}: output before the first command"
                shown[-1].append(line)
        printed = self._run(["bash", "-c", script], block).split("\n=====\n")
        for lines, all_output in zip(shown, printed, strict=False):
            output = all_output
            for line in filter(str.strip, lines):
                wanted = ".*?".join(re.escape(part) for part in line.strip().split("..."))
                found = re.search(wanted, output)
                assert found, f"{block}: {line!r} is not in the output, or not in this order:\n{output}"
                output = output[found.end() :]

    def leave(self) -> None:
        """End everything that was started in the background."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)


@pytest.mark.xdist_group("docs")  # documents name ports, so one reader at a time
@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_documents_show_works(document: Path, tmp_path: Path) -> None:
    """A reader who types what the document shows gets what it promises."""
    reader = Reader(tmp_path)
    try:
        for block in blocks(document):
            reader.follow(block)
    finally:
        reader.leave()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link names a file that is there."""
    text = BLOCK.sub("", document.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
    assert [each for each in targets if not (document.parent / each).exists()] == []


def test_a_false_promise_is_noticed(tmp_path: Path) -> None:
    """Failing commands, missing output, skips without a reason and unknown extras all fail the document."""
    lies = [
        "```console\n$ false\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ printf 'one\\ntwo'\ntwo\none\n```",
        "```sh\npip install 'coinslot[nonsense]'\n```",
        "```sh\nmake nonsense\n```",
        "```python\nimport nonsense\n```",
        "<!-- test: skip -->\n```python\n```",
    ]
    for number, lie in enumerate(lies):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "doc.md").write_text(lie + "\n")
        (block,) = blocks(folder / "doc.md")
        block = Block(ROOT / "doc.md", block.line, block.language, block.body, block.order)
        with pytest.raises(AssertionError):
            Reader(folder).follow(block)


def test_a_kept_promise_passes(tmp_path: Path) -> None:
    """Commands, output with gaps, background programs and files between blocks work together."""
    (tmp_path / "doc.md").write_text(
        "<!-- test: file it.toml -->\n```toml\na = 1\n```\n"
        "```console\n$ sleep 60 &\n$ cat it.toml\na = ...\n$ echo first \\\n    second\nfirst ... second\n```\n"
        "```sh\npip install 'coinslot[tempo,postgres]'\nmake demo\n```\n".replace("first ... second", "first...second")
    )
    reader = Reader(tmp_path)
    try:
        for block in blocks(tmp_path / "doc.md"):
            reader.follow(Block(ROOT / "doc.md", block.line, block.language, block.body, block.order))
    finally:
        reader.leave()


def check_pip(arguments: list[str]) -> None:
    """Stand in for pip: the extras that a document asks for are extras that we publish."""
    from importlib import metadata

    published = set(metadata.metadata("coinslot").get_all("Provides-Extra") or [])
    for extras in re.findall(r"(?:coinslot|\.)\[([^]]*)\]", " ".join(arguments)):
        unknown = {each.strip() for each in extras.split(",")} - published
        if unknown:
            sys.exit(f"no such extra: {', '.join(sorted(unknown))}")


if __name__ == "__main__":
    check_pip(sys.argv[1:])
