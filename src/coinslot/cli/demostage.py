"""The stage of every demonstration: a story that is told or kept, a gate as users start it, and what the chain says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from coinslot.cli.output import console
from coinslot.core.challenge import Challenge, parse_challenge
from coinslot.devnet.protocol import Account, RunningDevnet
from coinslot.drive import RealWorld, run
from coinslot.errors import CoinslotError
from coinslot.method import Holding, keys_of, load

# Accounts of the local chain that no other example uses.
SELLER, BUYER = 6, 7
# A gate that is not up by then is not coming up.
GATE_WAIT_S = 30.0


class DemoFailed(CoinslotError):
    """A step of the demonstration did not go as it should."""


@contextmanager
def running_gate(arguments: list[str], folder: str, secrets: Mapping[str, str] | None = None) -> Iterator[str]:
    """`coinslot gate` as a process of its own, exactly as a user starts it; its URL."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COINSLOT_")}
    environment |= dict(secrets or {})
    command = [sys.executable, "-m", "coinslot.cli.main", "gate", *arguments, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment)
    try:
        assert process.stdout is not None  # noqa: S101 - asked for above
        line = process.stdout.readline()
        if not line:
            raise DemoFailed(f"the gate did not start (exit code {process.wait()}); its reason stands above")
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        try:
            process.wait(GATE_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()


def node_flags(chain: RunningDevnet, method: str) -> list[str]:
    """How a gate is told of the chain."""
    flags = ["--method", method, "--rpc-url", chain.rpc_url]
    for name, value in chain.settings.items():
        flags += [f"--{name.replace('_', '-')}", value]
    return flags


@dataclass
class Story:
    """Tells it to a person, or keeps the facts for a program."""

    silent: bool
    facts: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    began: float = field(default_factory=time.monotonic)

    def chapter(self, title: str) -> None:
        """Begin the next one."""
        self.number += 1
        if not self.silent:
            console().print(f"\n[bold cyan]{self.number}. {title}[/bold cyan]")

    def say(self, text: str) -> None:
        """A line of it."""
        if not self.silent:
            console().print(f"   {text}")

    def expect(self, what: str, wanted: object, found: object) -> None:
        """Raises DemoFailed if it is not as it should be."""
        if wanted != found:
            raise DemoFailed(f"{what}: expected {wanted!r}, found {found!r}")


@dataclass(frozen=True)
class Scene:
    """The chain, the payment method and the token of a story."""

    chain: RunningDevnet
    method: str
    token: str

    def owns(self, account: Account) -> Holding:
        """What an account owns of the token, asked from the chain itself."""
        keys = keys_of(load(self.method))
        with closing(RealWorld()) as world:
            return run(keys.balances(self.chain.rpc_url, account.address, [self.token]), world)[0]


def shown_challenge(story: Story, response: httpx.Response) -> Challenge:
    """What a 402 asks, told. Raises DemoFailed for another answer."""
    story.expect("the unpaid answer", 402, response.status_code)
    challenge = parse_challenge(response.headers["www-authenticate"])
    request = challenge.request_object()
    story.say("[bold]HTTP 402[/bold] Payment Required, with [bold]WWW-Authenticate: Payment[/bold]")
    story.say(f"  id                {challenge.id}   (made by the gate's secret: it keeps no list)")
    story.say(f"  method            {challenge.method}, intent {challenge.intent}, good until {challenge.expires}")
    for name, value in request.items():
        story.say(f"  {name:<18}{value if isinstance(value, str) else json.dumps(value)}")
    story.facts["challenge"] = {"id": challenge.id, "request": request}
    return challenge
