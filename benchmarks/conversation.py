"""Time to the first token in a conversation, before and past the context's limit: ``python -m benchmarks.conversation``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.__main__ import DOCUMENT, insert
from phi_magic import Phi
from phi_magic.conversation import forget

_SETTINGS: dict[str, Any] = {"model": "demo", "n_ctx": 512, "max_tokens": 24, "seed": 1}
_PAST = 100  # turns past the limit
_READING = 0.1  # seconds that the user reads; the worker reads the history meanwhile


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversation", description=__doc__)
    parser.add_argument("--small", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=5, help="how many conversations are held (5)")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    rounds, past = (1, 10) if options.small else (options.rounds, _PAST)
    loads = [os.getloadavg()[0]]
    found = [_first_tokens(past) for _ in range(rounds)]
    rows = [
        f"| median time to the first token, {past} turns past the limit | milliseconds |",
        "| --- | ---: |",
        f"| a turn before it | {1000 * median(before for before, _ in found):.3g} |",
        f"| a turn past it | {1000 * median(past for _, past in found):.3g} |",
        f"| ratio | {median(past / before for before, past in found):.3g} |",
    ]
    described = report.describe(report.machine(), [*loads, os.getloadavg()[0]], rounds)
    text = "\n\n".join([described, "\n".join(rows)])
    print(text)
    if options.write:
        insert(DOCUMENT, "conversation", text)
    return 0


def _first_tokens(past: int) -> tuple[float, float]:
    """Hold a conversation; return the medians before and past the limit, in seconds."""
    forget()
    phi = Phi(**_SETTINGS)
    phi("Hello")  # loads the model
    chat = phi.chat("long")
    fitting: list[float] = []
    cut: list[float] = []
    while len(cut) < past:
        reply = chat("Now write another haiku about the sea")
        (cut if reply.left_out else fitting).append(reply.timings.first_token)
        time.sleep(_READING)
    return median(fitting), median(cut)


if __name__ == "__main__":
    sys.exit(main())
