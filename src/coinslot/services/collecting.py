"""Python's garbage collector in a server: it walks every object it knows, and stops all requests while it does.

A library does not decide this for the program that it is part of; our own programs do.
"""

from __future__ import annotations

import gc

# A request in flight holds some forty objects that the collector knows. By Python's default of 700 it looks after every
# seventeenth request, and walks everything for 30 ms now and then: a tenth of the processor, and the slowest percent of
# all answers.
LOOK_AFTER = 10_000


def spare_what_stands() -> None:
    """To be called once, when a server has made all that it keeps. From then on the collector passes over that, and
    looks at the rest less often; what refers to itself in a circle is still found.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(LOOK_AFTER)
