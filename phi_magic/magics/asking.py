"""Keep IPython from reading a question mark in a prompt as help, and from displaying the Reply of a bare ``%phi``
again.
"""

from __future__ import annotations

import ast
import re

from IPython.core.inputtransformer2 import HelpEnd

_ASKS = re.compile(
    r"(?P<target>[^%\n]*[=;]\s*)?"
    r"%(?P<magic>phi\w*|\w+(?=[ \t]+(?:-\S+[ \t]+)*%phi))"  # ours, or another one around it: %time %phi …?
    r"[ \t]+(?P<rest>\S.*\w.*)"
)


class QuestionMark(HelpEnd):
    """``%phi What is a token?`` asks the model, as ``%phi What is a token`` does; ``%phi?`` is still help."""

    priority = HelpEnd.priority - 1

    def transform(self, lines: list[str]) -> list[str]:
        """Call the magic; a ``SyntaxError`` hands a line that is not ours on to IPython."""
        line = lines[self.start_line]
        found = _ASKS.fullmatch(line[self.start_col :].rstrip()) if self.q_line == self.start_line else None
        if not found:
            raise SyntaxError(line)
        call = f"get_ipython().run_line_magic({found['magic']!r}, {found['rest']!r})"
        asked = f"{line[: self.start_col]}{found['target'] or ''}{call}\n"
        return [*lines[: self.start_line], asked, *lines[self.start_line + 1 :]]


class Shown(ast.NodeTransformer):
    """``%phi`` returns its Reply, which it has shown already: IPython displays the value of a bare expression only.

    So a statement that only asks is turned into one that is not an expression. ``answer = %phi …`` stays as it is.
    """

    def visit_Module(self, node: ast.Module) -> ast.Module:
        node.body = [ast.If(ast.Constant(True), [one], []) if _asks(one) else one for one in node.body]
        return node


def _asks(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(ast.Call(ast.Attribute(attr="run_line_magic" | "run_cell_magic"), [ast.Constant("phi"), *_])):
            return True
    return False
