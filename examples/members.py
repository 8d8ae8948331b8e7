"""Members sign in and pay: Bearer and Payment in one request. Needs `pip install 'coinslot[flask,tempo]'` and a chain:

coinslot devnet &
export RECIPIENT=0x70997970C51812dc3A010C7d01b50e0d17dc79C8
flask --app examples.members run &
coinslot fetch --rpc-url http://127.0.0.1:8545 -H 'Authorization: Bearer ann' http://127.0.0.1:5000/report
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps

from flask import Flask, abort, g, request

from coinslot.transports.flask import paid
from coinslot.transports.slot import Slot

MEMBERS = {"ann", "bob"}
slot = Slot(
    "members.example",
    store=os.environ.get("STORE", "sqlite:///members.sqlite"),
    alternate_header=True,  # Authorization is for the members' tokens
    tempo={"recipient": os.environ["RECIPIENT"], "rpc_url": os.environ.get("RPC_URL", "http://127.0.0.1:8545")},
)
app = Flask("members")


def member(view: Callable[[], str]) -> Callable[[], str]:
    """Outside of the price: strangers get 401 and are not asked for money."""

    @wraps(view)
    def checked() -> str:
        if request.authorization is None or request.authorization.token not in MEMBERS:
            abort(401)
        g.member = request.authorization.token
        return view()

    return checked


@app.get("/report")
@member
@paid(slot, "0.05", description="today's report")
def report() -> str:
    """Made when it is paid."""
    return f"a report for {g.member}, paid by {g.receipt.reference}\n"
