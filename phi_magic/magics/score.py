"""``%%phi_score`` and ``%phi_tokens``: a text that somebody else wrote, as the model sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.core.magic import cell_magic, line_cell_magic, magics_class, no_var_expand
from IPython.display import display

from ..errors import PhiError
from ..options import ASKING, OUT, Option, overrides, quoting, split, unknown, variable
from ..reply import Reply
from .adapting import PhiMagics, one_line
from .adapting import arguments as magic_arguments

_FOR_ANSWERS = {"--schema", "--choices", "--no-stream", "--stop", "--max-tokens", "--seed", "--cache"}
OPTIONS = (
    OUT,
    Option(
        ("--after",),
        {
            "dest": "after",
            "metavar": "VAR",
            "help": "The prompt that the text answers: a variable with a text, or with a Reply, whose prompt is taken. "
            "Without it the text stands alone, as at the beginning of a document.",
        },
    ),
    *(option for option in ASKING if option.flags[-1] not in _FOR_ANSWERS and option.flags[0] not in _FOR_ANSWERS),
)
TOKENS = tuple(option for option in ASKING if option.trait == "model")


@magics_class
class ScoreMagics(PhiMagics):
    """The magics of one shell, with the ``Phi`` whose model they use."""

    @no_var_expand
    @cell_magic
    @magic_arguments(*OPTIONS)
    def phi_score(self, line: str, cell: str) -> None:
        """Shade a given text by the probabilities that the model gives to its tokens.

        %%phi_score [options]

        The cell's body is the text, as it is. Below it stand its perplexity (the number of equally likely tokens that
        would surprise as much), the surprise in bits for each token and character, and where the text surprises most.
        """
        with one_line():
            words, rest = split(line, OPTIONS, prompt=False)
            if rest:
                raise PhiError(f"{rest!r} stands beside the options{quoting(words, rest)}: the text goes below")
            arguments = ScoreMagics.phi_score.parser.parse_args(words)  # type: ignore[union-attr]
            name = variable(arguments.out)
            prompt = _prompt(self.shell.user_ns, arguments.after)
            options = {"top_logprobs": 5, **overrides(arguments)}
            if not prompt:
                options["raw"] = True
            reply = self.phi.score(prompt, cell.strip("\n"), **options)
            if name:
                self.shell.user_ns[name] = reply
            if not arguments.quiet:
                from ..rendering import escape
                from ..rendering.token_shading import bundle, summary

                shown, said = bundle(reply.tokens), summary(reply.tokens, reply.text)
                html = f'{shown["text/html"]}<div style="opacity: 0.65; font-size: 0.9em">{escape(said)}</div>'
                display({"text/html": html, "text/plain": f"{shown['text/plain']}\n\n{said}"}, raw=True)

    @no_var_expand
    @line_cell_magic
    @magic_arguments(*TOKENS)
    def phi_tokens(self, line: str, cell: str | None = None) -> None:
        """Cut a text into the model's tokens, with their ids and bytes; no control token is honoured in it.

        %phi_tokens TEXT        one line
        %%phi_tokens            the cell's body is the text
        """
        with one_line():
            words, rest = split(line, TOKENS, prompt=cell is None)
            arguments = ScoreMagics.phi_tokens.parser.parse_args(words)  # type: ignore[union-attr]
            text = rest if cell is None else cell.strip("\n")
            if not text:
                raise PhiError("%phi_tokens needs a text: %phi_tokens ice hockey")
            from ..rendering.token_shading import cut

            display(cut(self.phi.tokenize(text, **overrides(arguments))), raw=True)


def _prompt(variables: Mapping[str, Any], name: str | None) -> str:
    """The prompt that a variable holds; empty where none is named."""
    if name is None:
        return ""
    value = variables.get(name)
    if isinstance(value, Reply):
        return value.prompt
    if isinstance(value, str):
        return value
    if name in variables:
        raise PhiError(f"--after takes a variable with a text or a Reply, and {name} is a {type(value).__name__}")
    raise PhiError(unknown(name, [key for key, held in variables.items() if isinstance(held, str | Reply)], "variable"))
