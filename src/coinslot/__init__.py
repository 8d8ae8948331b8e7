"""Machine payments for Python: a coin slot for any API, a purse for any program.

The names below are the public ones that every program may need; doors are imported from where they live, so that a
door's framework stays optional: `coinslot.transports.httpx`, `coinslot.transports.asgi` and so on.
"""

from coinslot.errors import (
    CoinslotError,
    ConfigError,
    PaymentError,
    PaymentOutcomeUnknown,
    PaymentRefused,
    PolicyRefused,
    Problem,
    UsageError,
)
from coinslot.money import Asset
from coinslot.version import VERSION as __version__

__all__ = [
    "Asset",
    "CoinslotError",
    "ConfigError",
    "PaymentError",
    "PaymentOutcomeUnknown",
    "PaymentRefused",
    "PolicyRefused",
    "Problem",
    "UsageError",
    "__version__",
]
