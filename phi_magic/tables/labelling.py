"""Ask a template of every row of a table: the answers as they arrive, then as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from ..errors import PhiError
from ..generation.stream import StreamAll
from ..rendering.table import Table
from ..reply import Reply
from ..schema.structure import read
from .columns import Column, answer_columns, with_columns
from .filling import RowTemplate
from .progress import Progress
from .rows import read_rows
from .view import bundle, preview

_PREVIEW = 10  # rows
_CONTEXT = 4  # columns of the table that stand beside the answers in a preview


class Labelling:
    """A map of a template over rows: iterate over it for the numbers of the rows whose answers grew.

    Args:
        stream_all: what answers the questions, :meth:`phi_magic.Phi.stream_all`.
        data: a pandas or Polars DataFrame, a pyarrow Table, or an iterable of dicts or texts.
        template: the prompt of a row: Jinja2 over its columns, ``row``, ``index``, and ``variables``.
        variables: what other names in the template mean.
        into: the name of the column of answers.
        on_error: ``stop`` refuses the whole map where a row cannot be asked, ``keep`` records the error in that row.
        executor: runs the questions on its processes; None: they are answered here.
        on_status: told in a few words what is going on until the first row is begun.
        options: those of :meth:`phi_magic.Phi.stream_all`'s questions.

    Raises:
        PhiError: the data are no rows; two columns of answers would have one name; or rows cannot be asked, each of which the line names.
    """

    def __init__(
        self,
        stream_all: Callable[..., StreamAll],
        data: Any,
        template: str,
        *,
        variables: Mapping[str, Any] | None = None,
        into: str = "answer",
        on_error: str = "stop",
        executor: Executor | None = None,
        on_status: Callable[[str], None] = lambda _: None,
        **options: Any,
    ) -> None:
        self.rows = read_rows(data)
        prompts = RowTemplate(template, self.rows, variables or {})
        structure = options.get("schema")
        if structure is not None:
            options["schema"] = structure = read(structure)
        self._schema = structure.text if structure else None
        self._choices = options.get("choices") or ()
        self._into = into
        self._keeps_errors = on_error == "keep"
        names = [column.name for column in self._columns([])]
        if names[-1] in names[:-1]:
            raise PhiError(
                f"the errors and an answer would both be the column {names[-1]!r}: rename the choice or field"
            )
        self._shown = prompts.columns[:_CONTEXT] or self.rows.columns[:_CONTEXT]
        self._first: dict[int, list[Any]] = {}  # the first finished rows, as the preview shows them

        def waiting(status: str) -> None:
            self.progress.wait()
            on_status(status)

        self.stream = stream_all(
            [(prompt, options) for prompt in prompts], on_error=on_error, executor=executor, on_status=waiting
        )
        self.progress = Progress.of(self.replies)

    @property
    def replies(self) -> list[Reply]:
        """One for each row, in the rows' order."""
        return self.stream.replies

    def __iter__(self) -> Iterator[int]:
        done = 0
        for index in self.progress.following(self.stream, self.replies):
            if self.progress.done > done and len(self._first) < _PREVIEW:
                self._first[index] = self._preview_of(index)
            done = self.progress.done
            yield index

    def columns(self) -> list[Column]:
        """The answers that are there, as columns; a row without one has nulls."""
        return self._columns(self.replies)

    def result(self) -> Any:
        """The table with the columns of answers; of rows that came from another iterable, the replies."""
        return self.replies if self.rows.frame is None else with_columns(self.rows.frame, self.columns())

    def bundle(self, status: str = "") -> dict[str, str]:
        """Display data of a map that runs: a bar, the figures or a status, the first finished rows."""
        return bundle(status or self.progress.line(), self._preview(), fraction=self.progress.fraction)

    def final_bundle(self, note: str = "") -> dict[str, str]:
        """Display data of a map that has ended: what came of it, and the first finished rows."""
        line = self.summary()
        return bundle(f"{line} · {note}" if note else line, self._preview())

    def summary(self) -> str:
        """What came of it, in one line; with a schema also how many answers made no object, and why the first did not."""
        line = self.progress.summary()
        whole = [reply for reply in self.replies if reply.finish_reason in ("stop", "length")]
        lost = [reply.error for reply in whole if reply.data is None and reply.error] if self._schema else []
        return f"{line} · {len(lost):,} without an object: {lost[0]}" if lost else line

    def record(self) -> dict[str, Any]:
        """What a notebook's output carries under the metadata key ``phi_magic``: the answers that it shows."""
        shown = [self.replies[index] for index in self._first]
        return {"replies": [reply.to_dict() for reply in shown if reply.finish_reason != "error"]}

    def _preview(self) -> Table | None:
        if not self._first:
            return None
        headers = ["index", *self._shown, *(column.name for column in self._columns([]))]
        return preview(headers, [self._first[index] for index in sorted(self._first)])

    def _columns(self, replies: Sequence[Reply]) -> list[Column]:
        return answer_columns(
            replies, self._into, schema=self._schema, choices=self._choices, errors=self._keeps_errors
        )

    def _preview_of(self, index: int) -> list[Any]:
        row = self.rows[index]
        answers = [column.values[0] for column in self._columns([self.replies[index]])]
        return [self.rows.labels[index], *(row.get(name) for name in self._shown), *answers]
