"""Makes the README's table of figures from what `scripts/bench --json` wrote.

    python -m scripts.benchmarks.readme FIGURES.json [README.md]

Prints the table; with a README puts it between the lines BEGIN and END there instead. Rows that
were not measured are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import quantity
from scripts.benchmarks.rows import OURS, PEERS, PLAIN

BEGIN = "<!-- figures: made by scripts/benchmarks/readme.py -->"
END = "<!-- end of figures -->"

ROWS = {
    "first-scan": "first scan, cold",
    "first-scan-warm": "first scan, warm",
    "first-scan-several": "first scan of the same mail in 20 accounts",
    "first-scan-many": "first scan of many accounts, for each",
    "nothing-new": "scan with nothing new",
    "nothing-new-many": "scan of many accounts with nothing new",
    "packs": "content as stored",
    "stored": "content and journal as stored",
    "check-deep": "deep check",
    "restore-account": "restore of an account",
    "restore-folder": "restore of a folder",
    "export": "export",
    "import": "import",
    "purge-half": "purge of half",
    "search": "search by subject",
    "mount-many": "mount, and list a folder, with many restore points",
    "list": "`ls -lAR`, cold",
    "tar-cold": "`tar` of a view, cold",
    "tar-cold-extension": "the same with the extension",
    "tar-warm": "`tar` of a view, warm",
    "tar-warm-extension": "the same with the extension",
    "grep": "`grep -r` in a view, cold",
    "lookup": "one message by name, cold",
    "imap-first-scan": "first scan over IMAP",
    "imap-restore": "restore over IMAP",
}
"""The rows that the README has, in its order and words."""


def table(document: Mapping[str, Any]) -> str:
    """The table in Markdown: medians, our ratio to the better of the others, and the limit."""
    found = {row["name"]: row for row in document["rows"]}
    lines = [f"| | {' | '.join(PEERS)} | others | timefs | plain tools |", "|" + " --- |" * 6]
    for name, title in ROWS.items():
        row = found.get(name)
        if row is None or OURS not in row["medians"]:
            continue
        unit, medians = row["unit"], row["medians"]
        peers = [quantity(medians[peer], unit) if peer in medians else "" for peer in PEERS]
        others = [
            f"{other} {quantity(value, unit)}"
            for other, value in medians.items()
            if other not in (*PEERS, OURS, PLAIN)
        ]
        ours = quantity(medians[OURS], unit)
        ours += "" if row["ratio"] is None else f" ({row['ratio']:.2f})"
        plain = f"{quantity(medians[PLAIN], unit)} ({row['plain']})" if PLAIN in medians else ""
        lines.append(f"| {title} | {' | '.join([*peers, ', '.join(others), ours, plain])} |")
    return "\n".join(lines) + "\n"


def replaced(text: str, table: str) -> str:
    """A README with another table. Raises ValueError where it has no place for one."""
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there are no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main(figures: str, readme: str = "") -> None:
    """Runs it."""
    made = table(json.loads(Path(figures).read_text(encoding="utf-8")))
    if not readme:
        print(made, end="")
        return
    path = Path(readme)
    path.write_text(replaced(path.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"readme: {error}")
