"""Running a gate under uvicorn: one process or several on one socket, drained on SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import msgspec
import uvicorn
from uvicorn.supervisors import Multiprocess

from coinslot.drive import RealWorld, run, wait
from coinslot.errors import ConfigError, UsageError
from coinslot.services.collecting import spare_what_stands
from coinslot.services.config import GateConfig
from coinslot.services.gate import GateService
from coinslot.services.guarded import GuardedProtocol
from coinslot.services.pricing import in_words

# How long open requests may take to finish after SIGTERM: a payment's patience and then some.
DRAIN_S = 30
# Connections that wait while workers start.
BACKLOG = 2048
# Carries the configuration to worker processes, which load the application anew.
_VARIABLE = "COINSLOT_GATE_CONFIG"


def check_config(config: GateConfig) -> dict[str, object]:
    """Build everything, ask chain and store, and let go again; what was found. Raises what building raises."""
    built = GateService(config)
    try:
        run(wait(built.slot.store.ping()), RealWorld())
        accepted = [f"{one.method}/{one.intent}" for one in built.slot.sellers]
        found: dict[str, object] = {"accept": accepted, "routes": [route.pattern for route in built.routes.routes]}
        metered = {
            route.pattern: in_words(config.prices[route.pattern])
            for route in built.routes.routes
            if route.price is not None and route.price.metering is not None
        }
        return {**found, "metered": metered} if metered else found
    finally:
        built.slot.close()


def create() -> GateService:
    """The application of a worker process."""
    made = GateService(msgspec.json.decode(os.environ[_VARIABLE], type=GateConfig))
    spare_what_stands()
    return made


class _Server(uvicorn.Server):
    """Tells when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()


def _bind(config: GateConfig) -> socket.socket:
    host, port = config.address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise UsageError(f"listen: can't take {config.listen}: {error.strerror}; choose another --listen") from None
    bound.set_inheritable(True)
    return bound


def serve(config: GateConfig, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` gets the URL once requests are answered. Raises what building raises."""
    for name in (config.tls_cert, config.tls_key):
        if name is not None and not os.access(name, os.R_OK):
            raise ConfigError(f"{name}: can't be read")
    bound = _bind(config)
    host, port = bound.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    config = msgspec.structs.replace(config, listen=address)  # port 0 has become a real one
    url = f"{'https' if config.tls_cert else 'http'}://{address}"
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn drains, then raises the signal anew; having drained is a success, not a death by signal
        signal.signal(number, lambda *_: None)
    settings = uvicorn.Config(
        GateService(config) if config.workers == 1 else f"{__name__}:create",
        factory=config.workers > 1,
        workers=config.workers,
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=BACKLOG,
    )
    try:
        if config.workers == 1:
            spare_what_stands()
            _Server(settings, lambda: ready(url)).run(sockets=[bound])
        else:
            check_config(config)
            os.environ[_VARIABLE] = msgspec.json.encode(config).decode()
            ready(url)
            Multiprocess(settings, [bound]).run()
    finally:
        bound.close()
