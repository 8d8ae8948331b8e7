"""Guards without which a test must fail; see support/mutation.py. Other lists stand beside the tests they name."""

from __future__ import annotations

from support.mutation import Mutation

MUTATIONS: list[Mutation] = []
