"""``phi-magic "Write a haiku about ice hockey"``, or ``python -m phi_magic``: the answer on standard output."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .display import QuietView, TerminalView, View
from .errors import PhiError
from .options import ASKING, overrides

DIFFERENT, USAGE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one prompt, or run a notebook's answers again; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    try:
        if len(words) == 2 and words[0] == "replay" and words[1].endswith(".ipynb"):
            return _replay(Path(words[1]))
        given = parser.parse_args(words)  # argparse exits with 2 itself
        prompt = " ".join(given.prompt) or ("" if sys.stdin.isatty() else sys.stdin.read())
        return _answer(prompt, given)
    except PhiError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does. Python would report it when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _answer(prompt: str, given: argparse.Namespace) -> int:
    from .phi import Phi

    phi = Phi()
    view: View = QuietView()
    if not given.quiet:
        view = TerminalView(sys.stdout, sys.stderr, show_stats=sys.stderr.isatty(), stream=not given.no_stream)
    stream = phi.stream(prompt, on_status=view.status, identify=False, schema=given.schema, **overrides(given))
    try:
        for piece in stream:
            view.grow(stream.reply, piece)
    except KeyboardInterrupt:
        view.finish(stream.reply)
        raise
    view.finish(stream.reply)
    view.note(stream.reply.error)
    return 0


def _replay(notebook: Path) -> int:
    from .phi import Phi
    from .replay import recorded_in, replay, tally

    answers = recorded_in(notebook)
    outcomes = []
    for recorded in answers:
        outcomes.append(replay(Phi(), recorded))
        print(outcomes[-1], flush=True)
    print(tally(outcomes, len(answers)))
    return 0 if all(outcome.same for outcome in outcomes) else DIFFERENT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phi-magic",
        description="Ask a local language model; its answer streams to standard output.",
        epilog="A prompt can come on standard input. Exit status: 0; 2 for a usage mistake; 130 after Ctrl-C. "
        "The form `replay NOTEBOOK.ipynb` runs every answer of a saved notebook again: 0 where all are the same, else 1.",
        allow_abbrev=False,
    )
    parser.add_argument("prompt", nargs="*", help="what to ask")
    for option in ASKING:
        parser.add_argument(*option.flags, **option.keywords)
    return parser


if __name__ == "__main__":
    sys.exit(main())
