"""``phi-magic "Write a haiku about ice hockey"``, or ``python -m phi_magic``: the answer on standard output."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .display import QuietView, TerminalView, View
from .errors import PhiError, WorkerEnded
from .options import ASKING, MAPPING, overrides
from .paths import read_text, show_path

DIFFERENT = FAILED = 1
USAGE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one prompt, a table of them, or those of a notebook again; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = words[0] if words[:1] in (["replay"], ["map"]) else ""
    parser = {"": _parser, "map": _map_parser, "replay": _replay_parser}[command]()
    try:
        _open_streams()
        given = parser.parse_args(words[1:] if command else words)  # argparse exits with 2 itself
        status = {"": _answer, "map": _map, "replay": _replay}[command](given)
        sys.stdout.flush()
    except PhiError as error:
        _complain(f"{parser.prog}: {error}")
        status = FAILED if isinstance(error, WorkerEnded) else USAGE
    except KeyboardInterrupt:
        if arguments is None:  # a program of its own, which only has to end: another Ctrl-C would break into that
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = INTERRUPTED
    except OSError as error:
        if error.errno is None or error.filename is not None:  # not one of writing to a stream that is open
            raise
        # What is still in the buffer cannot be written either, and Python would report that when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has closed the pipe, as `head` does
            return 0
        _complain(f"{parser.prog}: the output cannot be written: {error.strerror}")
        status = FAILED
    return status


def _open_streams() -> None:
    """Open standard streams that the shell closed, and write what the output's encoding lacks as a question mark.

    Python has None for a closed stream, and the next file that is opened would get its descriptor.

    Raises:
        PhiError: the output is closed.
    """
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (open to the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")  # in the C locale other bytes would become lone surrogates
    if closed:
        raise PhiError("standard output is closed: there is nowhere to write to")


def _complain(line: str) -> None:
    with suppress(OSError):  # there is nowhere else to say it
        sys.stderr.write(f"{line}\n")


def _piped() -> str:
    """The prompt that comes on standard input; empty where that is a terminal."""
    try:
        return "" if sys.stdin.isatty() else sys.stdin.read()
    except UnicodeDecodeError as error:
        raise PhiError(
            f"standard input is not in {error.encoding}: byte {error.start:,} is no part of a text"
        ) from None


def _answer(given: argparse.Namespace) -> int:
    from .phi import Phi

    if (word := next(iter(given.prompt), "")) in ("replay", "map"):
        raise PhiError(
            f"{word} comes before all options: phi-magic {word} …; a prompt that begins with it goes into quotes"
        )
    prompt = " ".join(given.prompt) or _piped()
    phi = Phi()
    view: View = QuietView()
    if not given.quiet:
        view = TerminalView(sys.stdout, sys.stderr, show_stats=sys.stderr.isatty(), stream=not given.no_stream)
    stream = phi.stream(prompt, on_status=view.status, identify=False, schema=given.schema, **overrides(given))
    with stream.finishing(lambda: view.finish(stream.reply)):
        for piece in stream:
            view.grow(stream.reply, piece)
    view.note(stream.reply.error)
    return 0


def _replay(given: argparse.Namespace) -> int:
    from .phi import Phi
    from .recorded import recorded_in
    from .replay import replay, tally

    notebooks = given.notebooks
    answers = [(notebook, recorded) for notebook in notebooks for recorded in recorded_in(notebook)]
    outcomes = []
    for notebook, recorded in answers:
        outcomes.append(replay(Phi(), recorded))
        where = f"{show_path(notebook)}, " if len(notebooks) > 1 else ""
        print(f"{where}{outcomes[-1]}", flush=True)
    print(tally(outcomes, len(answers)))
    return 0 if all(outcome.same for outcome in outcomes) else DIFFERENT


def _map(given: argparse.Namespace) -> int:
    from .tables.files import check_output, read_table, with_answers, write_table
    from .tables.labelling import Labelling

    check_output(given.out)
    data = read_table(given.rows)
    options = {**overrides(given), **({"schema": given.schema} if given.schema else {})}
    from .phi import Phi
    from .tables.bar import follow

    labelling = Labelling(
        Phi().stream_all,
        data,
        read_text(given.template).strip("\n"),
        into=given.into,
        on_error=given.on_error,
        identify=False,
        **options,
    )

    def finish() -> None:
        if labelling.progress.done or not labelling.replies:  # else an earlier table would be lost for nothing
            rows = with_answers(data, labelling.columns()) if isinstance(data, list) else labelling.result()
            write_table(rows, given.out)
        if not given.quiet:
            sys.stderr.write(f"{labelling.summary()}\n")

    with labelling.stream.finishing(finish):
        follow(labelling, labelling.progress, shown=not given.quiet and sys.stderr.isatty())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phi-magic",
        description="Ask a local language model; its answer streams to standard output.",
        epilog="A prompt can come on standard input. Exit status: 0; 1 where the model's process ended; 2 for a usage "
        "mistake; 130 after Ctrl-C. "
        "Subcommands: `replay NOTEBOOK...` runs every answer of saved notebooks again; `map ROWS --template FILE --out FILE` "
        "answers a template for every row of a table. A prompt that begins with one of these words goes into quotes.",
        allow_abbrev=False,
    )
    parser.add_argument("prompt", nargs="*", help="what to ask")
    for option in ASKING:
        parser.add_argument(*option.flags, **option.keywords)
    return parser


def _replay_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phi-magic replay",
        description="Run every answer of saved notebooks again, from what was recorded, and compare the texts.",
        epilog="Exit status: 0 where all are the same, else 1; 2 for a usage mistake; 130 after Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "notebooks", nargs="+", type=Path, metavar="NOTEBOOK", help="a notebook, saved with its outputs"
    )
    return parser


def _map_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="phi-magic map",
        description="Answer a template for every row of a table, and write the table with the answers as new columns.",
        epilog="Exit status: 0; 1 where the model's process ended; 2 for a usage mistake; 130 after Ctrl-C. Rows that were "
        "finished are written in any case; with --cache the same command goes on with the rest.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "rows", type=Path, metavar="ROWS", help="a table: .csv, .jsonl, or .parquet where pyarrow is there"
    )
    parser.add_argument(
        "--template", type=Path, required=True, metavar="FILE", help="the prompt: Jinja2 over the columns"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the table to write; its ending says how"
    )
    executor = MAPPING[-1]
    for option in (*MAPPING, *ASKING):
        if option is not executor and "--no-stream" not in option.flags:
            parser.add_argument(*option.flags, **option.keywords)
    return parser


if __name__ == "__main__":
    sys.exit(main())
