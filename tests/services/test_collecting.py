"""What our programs ask of Python's garbage collector."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc, weakref
from coinslot.services.collecting import LOOK_AFTER, spare_what_stands

class Circle:
    pass

spare_what_stands()
assert gc.get_freeze_count() > 1000, "what stands is not passed over"
assert gc.get_threshold()[0] == LOOK_AFTER and gc.isenabled()
one = Circle()
one.itself, seen = one, weakref.ref(one)
del one
kept = [[] for _ in range(2 * LOOK_AFTER)]
assert seen() is None, "a circle made since is not found"
"""


def test_what_stands_is_passed_over_and_what_comes_is_not() -> None:
    """In a process of its own: this one's collector stays as it is."""
    assert subprocess.run([sys.executable, "-c", _PROGRAM], check=False, timeout=60).returncode == 0
