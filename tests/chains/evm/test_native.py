"""Without its native libraries this part does not start: no slow path takes their place."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("library", "module"), [("sha3", "keccak"), ("coincurve", "signature")])
def test_a_missing_native_library_is_named_when_it_is_imported(library: str, module: str) -> None:
    """MissingDependency, with what to install."""
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from coinslot.errors import MissingDependency\n"
        f"try:\n    import coinslot.chains.evm.{module}\n"
        "except MissingDependency as error:\n    print(error.extra, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tempo ")
    assert "coinslot[tempo]" in done.stdout
