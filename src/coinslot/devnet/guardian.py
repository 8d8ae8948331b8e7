"""Run a program, and end it when whoever started us is gone.

Started as a script: `python guardian.py PROGRAM ARGUMENTS...` with a pipe as standard input. The pipe closes when the
starter ends in any way, SIGKILL included; then the program is told to stop, and killed if it does not. It needs
nothing but the standard library and imports nothing of coinslot, so that it is up in milliseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

# How long the program may take to write its state before it is killed.
STOP_S = 5.0
# A forked sibling may hold our pipe open; a changed parent process id tells the truth as well.
LOOK_S = 1.0


def _die_with_parent() -> Callable[[], object] | None:
    """On Linux the kernel kills the program should this process be killed; elsewhere the pipe has to do."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    set_parent_death_signal = 1
    return lambda: prctl(set_parent_death_signal, signal.SIGKILL)


def _stop(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    try:
        program.wait(STOP_S)
    except subprocess.TimeoutExpired:
        program.kill()


def guard(arguments: list[str]) -> int:
    """Run the program until it ends or our starter does; its exit status."""
    # No thread exists yet, so running code between fork and exec is safe here.
    program = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent())  # noqa: PLW1509
    starter = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())

    def until_pipe_closes() -> None:
        while os.read(0, 4096):
            pass
        _stop(program)

    def until_orphaned() -> None:
        while os.getppid() == starter:
            time.sleep(LOOK_S)
        _stop(program)

    for watch in (until_pipe_closes, until_orphaned):
        threading.Thread(target=watch, daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(guard(sys.argv[1:]) & 0xFF)
