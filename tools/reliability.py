"""Write what the tests of reliability saw into the table of docs/reliability.md.

python tools/reliability.py

Each run of tests/reliability/ leaves its figures in build/reliability.jsonl; the newest of each line and form are kept
in docs/reliability.json, and the table is made of them. Records of tests that are gone are dropped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
SEEN = PROJECT / "build" / "reliability.jsonl"
KEPT = PROJECT / "docs" / "reliability.json"
PAGE = PROJECT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: made by tools/reliability.py -->", "<!-- end of figures -->"


def newest(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last record of each line and form, in the order in which the lines first came."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        kept[record["line"], record["form"]] = record
    lines = list(dict.fromkeys(record["line"] for record in records))
    return sorted(kept.values(), key=lambda record: (lines.index(record["line"]), record["form"] == "short"))


def current(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records whose test is still there."""

    def there(record: dict[str, Any]) -> bool:
        path, _, name = record["test"].partition("::")
        file = PROJECT / path
        return file.exists() and f"def {name.rpartition('::')[2]}(" in file.read_text(encoding="utf-8")

    return [record for record in records if there(record)]


def table(records: list[dict[str, Any]]) -> str:
    rows = ["| what | form | seen | seconds | date | test |", "| --- | --- | --- | ---: | --- | --- |"]
    for record in records:
        test = record["test"].removeprefix("tests/").partition("::")[0]
        cells = (record["line"], record["form"], record["seen"], str(record["seconds"]), record["date"], f"`{test}`")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    machines = sorted({record["machine"] for record in records})
    return "\n".join([*rows, "", f"Seen on: {'; '.join(machines)}."])


def main() -> None:
    """Merge the figures and renew the page."""
    records = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    if SEEN.exists():
        records += [json.loads(line) for line in SEEN.read_text(encoding="utf-8").splitlines()]
    records = newest(current(records))
    KEPT.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(records)}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
