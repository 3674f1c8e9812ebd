"""Edits of the sources in a file of settings that leave all else in it as it is: tables added, and
the earlier form made into tables. Pure functions of texts that are valid TOML."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from engine.domain.errors import UsageError
from engine.settings import positions, sources
from engine.settings.positions import Statement
from engine.settings.sources import Kinds, SourceTable


def added(text: str, tables: Iterable[SourceTable], kinds: Kinds) -> str:
    """The text with these tables at its end."""
    if text and not text.endswith("\n"):
        text += "\n"
    return text + "".join(f"\n{sources.text_of(table, kinds)}" for table in tables)


def changed_sources(
    given: Sequence[SourceTable], wanted: Sequence[SourceTable]
) -> tuple[list[SourceTable], tuple[SourceTable, SourceTable] | None]:
    """How tables become those of a list: which are added, and which one is at another place, as
    what it was and will be. Raises UsageError where some would have to go, for people wrote them.
    """
    stays = {table.spec for table in wanted}
    new = [table for table in wanted if table.spec not in {each.spec for each in given}]
    gone = [table for table in given if table.spec not in stays]
    if len(gone) == len(new) == 1:
        return [], (gone[0], new[0])
    if gone:
        names = " and ".join(f"[{table.where}]" for table in gone)
        raise UsageError(f"take {names} out of the file by hand; the backup keeps what it filled")
    return new, None


def upgraded(text: str, tables: Sequence[SourceTable], kinds: Kinds) -> str:
    """A text of the earlier form with these tables in place of the list and of what the sources had
    in common. Comments stay where they were, but for those that explained what is gone."""
    own = {kinds[table.kind].earlier for table in tables} - {""}
    lines = text.splitlines(keepends=True)
    removed: dict[int, list[str]] = {}
    statements = list(positions.statements(text))
    for statement in statements:
        if statement.path == (sources.TABLE,) or (
            statement.path[0] in own and not _keeps(statement, statements, own)
        ):
            first = statement.line - 1
            last = text.count("\n", 0, max(statement.end - 1, 0))
            removed[first] = _comments("".join(lines[first : last + 1]), statement, text)
            for number in range(first + 1, last + 1):
                removed[number] = []
    explanations = set(_explanations(own, kinds))
    kept: list[str] = []
    for number, line in enumerate(lines):
        if number not in removed:
            kept.append(line)
            continue
        while kept and kept[-1].rstrip("\r\n") in explanations:
            kept.pop()
        kept += removed[number]
    return added(_without_gaps(kept), tables, kinds)


def _keeps(statement: Statement, statements: Sequence[Statement], own: Container[str]) -> bool:
    """Whether the header of a table must stay, as something else stands below it."""
    return statement.header and any(
        other.table == statement.path and other.path[0] not in own for other in statements
    )


def _comments(lines: str, statement: Statement, text: str) -> list[str]:
    """The comments in the lines of a statement, each as a line."""
    start = text.rfind("\n", 0, statement.start) + 1
    return [f"{comment}\n" for comment in positions.comments(lines, statement.start - start)]


def _explanations(own: Iterable[str], kinds: Kinds) -> Iterator[str]:
    """The lines with which a new file of the earlier form explained what is gone."""
    yield '# Where the items come from. A list of one or more different "KIND:LOCATION", as in'
    yield '# ["maildir:/var/vmail/{user}"].'
    for table in own:
        for key, option in kinds[table].declared.items():
            assert option.default is not None
            yield from option.explained(key, option.default).splitlines()[:-1]


def _without_gaps(lines: Iterable[str]) -> str:
    """The lines, without blank ones that follow one another."""
    kept: list[str] = []
    for line in lines:
        if line.strip() or (kept and kept[-1].strip()):
            kept.append(line)
    return "".join(kept)
