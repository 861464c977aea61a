"""Write the tables of options and settings into README.md, made from the traits.

python tools/options_table.py [--check]     --check changes nothing and fails where the tables are out of date
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from phi_magic import Phi
from phi_magic.options import ASKING, CELL, Option
from phi_magic.settings import takes

README = Path(__file__).resolve().parent.parent / "README.md"
TRAITS = Phi.class_traits(config=True)
os.environ.pop("PHI_MAGIC_MODEL", None)  # It would pass for the default.
DEFAULTS = Phi()


def row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def spelled(option: Option) -> str:
    metavar = option.keywords.get("metavar")
    return ", ".join(f"`{flag}`" for flag in option.flags) + (f" *{metavar}*" if metavar else "")


def bounds(name: str) -> str:
    """What a trait takes, and its default, in a cell of the table."""
    default = getattr(DEFAULTS, name)
    shown = "" if default in ("", None, []) else f"`{default}`"
    return f"{takes(TRAITS[name])} | {shown}"


def options_table() -> str:
    lines = ["| option | setting | takes | default | meaning |", "|---|---|---|---|---|"]
    for option in (*ASKING, *CELL):
        if option.trait:
            lines.append(
                f"| {spelled(option)} | `{option.trait}` | {bounds(option.trait)} | {TRAITS[option.trait].help} |"
            )
        else:
            lines.append(
                row(spelled(option), "", "", "", option.keywords["help"].replace("%%", "%"))
            )  # argparse wants it doubled
    return "\n".join(lines)


def settings_table() -> str:
    lines = ["| setting | takes | default | meaning |", "|---|---|---|---|"]
    shown = {option.trait for option in (*ASKING, *CELL)}
    lines += [f"| `{name}` | {bounds(name)} | {trait.help} |" for name, trait in TRAITS.items() if name not in shown]
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The README's text with both tables made anew, each between its pair of comments."""
    for name, table in (("options", options_table()), ("settings", settings_table())):
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, opened, rest = text.partition(opening)
        _, closed, after = rest.partition(closing)
        if not (opened and closed):
            sys.exit(f"error: README.md has no place for the table of {name}")
        text = f"{before}{opening}{table}\n{closing}{after}"
    return text


def main() -> None:
    text = README.read_text(encoding="utf-8")
    made = with_tables(text)
    if "--check" not in sys.argv:
        README.write_text(made, encoding="utf-8")
    elif made != text:
        sys.exit("error: the tables in README.md are out of date; run: python tools/options_table.py")


if __name__ == "__main__":
    main()
