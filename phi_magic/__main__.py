"""``python -m phi_magic "Write a haiku about ice hockey"``: the answer on standard output."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .display import QuietView, TerminalView, View
from .errors import PhiError
from .options import ASKING, overrides

USAGE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one prompt; returns the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)  # argparse exits with 2 itself
    try:
        prompt = " ".join(given.prompt) or ("" if sys.stdin.isatty() else sys.stdin.read())
        return _answer(prompt, given)
    except PhiError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has gone, which is their right; Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _answer(prompt: str, given: argparse.Namespace) -> int:
    from .phi import Phi

    phi = Phi()
    view: View = QuietView()
    if not given.quiet:
        view = TerminalView(sys.stdout, sys.stderr, show_stats=sys.stderr.isatty(), stream=not given.no_stream)
    stream = phi.stream(prompt, on_status=view.status, identify=False, **overrides(given))
    try:
        for piece in stream:
            view.grow(stream.reply, piece)
    except KeyboardInterrupt:
        view.finish(stream.reply)
        raise
    view.finish(stream.reply)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m phi_magic",
        description="Ask a local language model; its answer streams to standard output.",
        epilog="A prompt can come on standard input. Exit status: 0; 2 for a usage mistake; 130 after Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument("prompt", nargs="*", help="what to ask")
    for option in ASKING:
        parser.add_argument(*option.flags, **option.keywords)
    return parser


if __name__ == "__main__":
    sys.exit(main())
