"""Scans of IMAP servers that are careless: what one message or folder is answered with costs no
other one, and nothing is silently absent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.connectors.sources import open_source
from engine.domain.model import ROOT, Kind
from engine.journal.keys import MAX_SEQUENCE
from engine.scan.smart import NamedSource, Result, ScanOptions, scan
from engine.system.stop import Stop
from tests.backups import SmallBackup
from tests.imap_script import Message, Script, Tree, serving

DATE = 1_714_557_600_000_000
"""That of every message of a script."""


def letter(number: int, head: str = "") -> bytes:
    return (
        f"{head}Subject: number {number}\r\nMessage-ID: <{number}@example.com>\r\n\r\nhi\r\n"
    ).encode()


def three() -> list[Message]:
    return [Message(uid, letter(uid)) for uid in (1, 2, 3)]


class Desk:
    """A server's account, and its backup."""

    def __init__(self, path: Path) -> None:
        self._password = path / "password"
        self._password.write_text("a secret\n")
        self.script = Tree(folders={b"INBOX": three()}, lines=[b'() "/" INBOX'])
        self.made = SmallBackup(path / "backup")

    def scan(self, *, deep: bool = False) -> Result:
        spec = f"imap:127.0.0.1:{self.script.port}?method=each&login=alice&timeout=5"
        spec += f"&password_file={self._password}"
        self.made.clock.advance(1_000_000)
        source = NamedSource(spec, open_source(spec, self.made.clock))
        return scan(self.made.backup, [source], ScanOptions(deep=deep), Stop())

    def problems(self) -> list[str]:
        """Those of another scan."""
        return [str(problem) for problem in self.scan().tally.problems]

    def living(self) -> dict[str, tuple[str, ...]]:
        """The subjects of the messages in each folder of the account."""
        found: dict[str, tuple[str, ...]] = {}
        with self.made.backup.reader() as reader:

            def walk(folder: int, path: str) -> None:
                subjects = []
                for entry in reader.entries(folder, MAX_SEQUENCE):
                    if entry.version.kind == Kind.MESSAGE:
                        headers = reader.headers(entry.item, entry.version.edition)
                        assert headers
                        subjects.append(headers.subject.removeprefix("number "))
                    else:
                        walk(entry.item, f"{path}/{entry.version.name}".lstrip("/"))
                if subjects:
                    found[path.removeprefix("alice/")] = tuple(sorted(subjects))

            walk(ROOT, "")
        return found

    def sizes(self) -> list[int]:
        """Those of the messages in the inbox."""
        with self.made.backup.reader() as reader:
            (account,) = reader.entries(ROOT, MAX_SEQUENCE)
            (inbox,) = reader.entries(account.item, MAX_SEQUENCE)
            entries = reader.entries(inbox.item, MAX_SEQUENCE)
            return sorted(entry.version.size for entry in entries)

    def dates(self) -> dict[str, int]:
        with self.made.backup.reader() as reader:
            (inbox,) = reader.entries(
                next(iter(reader.entries(ROOT, MAX_SEQUENCE))).item, MAX_SEQUENCE
            )
            found = {}
            for entry in reader.entries(inbox.item, MAX_SEQUENCE):
                headers = reader.headers(entry.item, entry.version.edition)
                assert headers
                found[headers.subject.removeprefix("number ")] = entry.version.date
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    with serving(made.script):
        yield made
    made.made.close()


def of_two(change: Callable[[bytes], bytes]) -> Callable[[bytes, bytes], bytes]:
    """Changes rows of the message with UID 2."""
    return lambda command, row: change(row) if re.search(rb"\(UID 2[ )]", row) else row


def of_its_content(change: Callable[[bytes], bytes]) -> Callable[[bytes, bytes], bytes]:
    return of_two(lambda row: change(row) if b" BODY[] " in row else row)


ALL = {"INBOX": ("1", "2", "3")}
OTHERS = {"INBOX": ("1", "3")}

# Contents


def test_many_messages_are_read_with_few_commands(desk: Desk) -> None:
    """Though their GUIDs, which are fingerprints, have another order than their UIDs."""
    desk.script.folders[b"INBOX"] = [Message(uid, letter(uid)) for uid in range(1, 31)]
    assert desk.problems() == []
    assert len(desk.sizes()) == 30
    assert sum(b"BODY.PEEK[]" in command for command in desk.script.commands) < 10


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row[: row.index(b"BODY[]")] + b"BODY[] NIL)\r\n",
        lambda row: row[: row.index(b"BODY[]")] + b'BODY[] "")\r\n',
        lambda row: row[: row.index(b" BODY[]")] + b")\r\n",
        lambda row: row.replace(b"UID 2 ", b""),
        lambda row: row.replace(b"UID 2 ", b"UID 0 "),
        lambda row: row.replace(b" {", b" {1"),
        lambda row: re.sub(rb"\{\d+\}", b"{40}", row),
        lambda row: b"",
    ],
)
def test_a_message_without_content_is_a_problem_each_time_and_not_gone(
    desk: Desk, change: Callable[[bytes], bytes]
) -> None:
    desk.script.alter = of_its_content(change)
    for _ in range(2):
        (problem,) = desk.problems()
        assert "UID 2" in problem
        assert desk.living() == OTHERS
    desk.script.alter = lambda command, row: row
    assert (desk.problems(), desk.living()) == ([], ALL), "it is taken when it comes"
    desk.script.alter = of_its_content(change)
    result = desk.scan(deep=True)
    assert desk.living() == ALL, "what is known of it stays"
    assert (len(result.tally.problems), result.tally.deleted) == (1, 0)


@pytest.mark.parametrize("found", [b"* SEARCH 1 3", b"* SEARCH", b"* SEARCH 1 0 3", b"* OK"])
def test_a_search_that_finds_fewer_than_there_are_proves_nothing_gone(
    desk: Desk, found: bytes
) -> None:
    desk.script.alter = of_two(lambda row: b"" if b"FLAGS" not in row else row)
    desk.script.answers = {b"UID SEARCH": [found + b"\r\n%T OK done\r\n"] * 20}
    for _ in range(2):
        assert any("UID 2" in problem for problem in desk.problems())
        assert desk.living() == OTHERS
    desk.script.alter = lambda command, row: row
    assert (desk.problems(), desk.living()) == ([], ALL)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.replace(b"BODY[]", b"RFC822"),
        lambda row: row.replace(b"BODY[]", b"body[]"),
        lambda row: row[:-3] + b"\r\n)\r\n",
        lambda row: b"\r\n" + row + b"\r\n",
        lambda row: row[:-3] + b" )\r\n",
        lambda row: row + b" FLAGS (\\Seen) RFC822.SIZE 200)\r\n",
        lambda row: b"* 9 X-NEW (\r\n* ( 5\r\n" + row,
    ],
)
def test_a_content_that_comes_in_an_odd_way_is_taken(
    desk: Desk, change: Callable[[bytes], bytes]
) -> None:
    desk.script.alter = of_its_content(change)
    assert (desk.problems(), desk.living()) == ([], ALL)


@pytest.mark.parametrize("end", [b" ", b"   ", b"\r\n", b")\r\n", b" )\r\n"])
def test_a_content_that_is_announced_as_shorter_than_it_is_isnt_taken(
    desk: Desk, end: bytes
) -> None:
    """Though what is left of it might as well be the server's."""
    desk.script.folders[b"INBOX"][1].content = letter(2)[:-2] + end

    def shorten(row: bytes) -> bytes:
        return re.sub(rb"\{(\d+)\}", lambda match: b"{%d}" % (int(match[1]) - len(end)), row)

    desk.script.alter = of_its_content(shorten)
    for _ in range(2):
        (problem,) = desk.problems()
        assert "UID 2" in problem
        assert desk.living() == OTHERS
    desk.script.alter = lambda command, row: row
    assert (desk.problems(), desk.living()) == ([], ALL)


def test_a_content_that_is_announced_so_long_that_others_are_in_it_isnt_taken(desk: Desk) -> None:
    messages = desk.script.folders[b"INBOX"]
    messages[2].content = letter(3) + b"x" * 500

    (last,) = Script(messages=messages[2:]).rows(b"UID FETCH 3 (BODY.PEEK[])")

    def swallow(command: bytes, row: bytes) -> bytes:
        """The second message's length is that of all up to the end of the third one, where that
        comes, too."""
        if b" BODY[] " not in row or not row.startswith(b"* 2 ") or b"2:3" not in command:
            return row
        head, _, rest = row.partition(b"}\r\n")
        length = len(rest) + len(last) - len(b")\r\n")
        return head[: head.index(b"{")] + b"{%d}\r\n" % length + rest

    desk.script.alter = swallow
    assert (desk.problems(), desk.living()) == ([], ALL)
    assert desk.sizes() == sorted(len(message.content) for message in messages)


@pytest.mark.parametrize(
    "date", [b"", b" INTERNALDATE NIL", b' INTERNALDATE "0"', b" INTERNALDATE"]
)
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            "Received: from a;\r\n Tue, 9 Jan 2024 08:00:00 +0000\r\n"
            "Received: from b; Mon, 8 Jan 2024 08:00:00 +0000\r\n",
            1_704_787_200_000_000,
        ),
        ("Received: from a\r\nDate: Mon, 8 Jan 2024 08:00:00 +0000\r\n", 1_704_700_800_000_000),
        ("Date: yesterday\r\n", 0),
    ],
)
def test_a_message_without_a_date_has_that_of_its_header(
    desk: Desk, date: bytes, head: str, expected: int
) -> None:
    desk.script.folders[b"INBOX"][1].content = letter(2, head)
    desk.script.alter = of_two(lambda row: re.sub(rb' INTERNALDATE "[^"]*"', date, row))
    for _ in range(2):
        assert (desk.problems(), desk.living()) == ([], ALL)
    assert desk.dates() == {"1": DATE, "2": expected, "3": DATE}


@pytest.mark.parametrize(
    "size", [b"", b" NIL", b" -1", b" 3.45e+06", b" 0", b" 99", b' "7"', b" (1)"]
)
def test_sizes_are_only_hints(desk: Desk, size: bytes) -> None:
    name = b" RFC822.SIZE" + size if size else b""
    desk.script.alter = of_two(lambda row: re.sub(rb" RFC822.SIZE \d+", name, row))
    for _ in range(2):
        assert (desk.problems(), desk.living()) == ([], ALL)


# Rows


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (b"\\Seen label(1)", ("\\Seen", "label(1)")),
        (b"a(b \\Seen", ("\\Seen", "a(b")),
        (b"a) \\Seen", ("\\Seen", "a)")),
        (b"{todo} {12}", ("{12}", "{todo}")),
        (b"x[y z]", ("x[y", "z]")),
        (b'"a b" "c)"', ("a b", "c)")),
        (b'"a', ('"a',)),
        (b"BODY[ x]", ("BODY[", "x]")),
        (b" \\Seen  ", ("\\Seen",)),
    ],
)
def test_flags_may_hold_anything(desk: Desk, flags: bytes, expected: tuple[str, ...]) -> None:
    desk.script.folders[b"INBOX"][1].flags = flags
    assert (desk.problems(), desk.living()) == ([], ALL)
    with desk.made.backup.reader() as reader:
        flagged = [
            entry.version.flags
            for item in range(1, 10)
            if (version := reader.version(item, MAX_SEQUENCE)) and version.kind == Kind.FOLDER
            for entry in reader.entries(item, MAX_SEQUENCE)
            if entry.version.flags
        ]
    assert flagged == [expected]


@pytest.mark.parametrize("flags", [b" FLAGS NIL", b" FLAGS \\Seen", b" FLAGS (())"])
def test_flags_that_are_no_list_cost_no_message(desk: Desk, flags: bytes) -> None:
    desk.script.alter = of_two(lambda row: row.replace(b" FLAGS ()", flags))
    assert (desk.problems(), desk.living()) == ([], ALL)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: b"",
        lambda row: row.replace(b"UID 2", b"UID 0"),
        lambda row: row.replace(b"UID 2", b"UID NIL"),
        lambda row: row.replace(b"UID 2 ", b""),
        lambda row: row.replace(b"UID 2", b"UID 1"),
        lambda row: row.replace(b"(UID 2", b"(UID 2 UID 7"),
        lambda row: row.replace(b"(", b"", 1),
        lambda row: row[:20] + b"\r\n",
    ],
)
def test_a_row_that_cant_be_understood_costs_only_itself(
    desk: Desk, change: Callable[[bytes], bytes]
) -> None:
    desk.script.alter = of_two(lambda row: change(row) if b"BODY" not in row else row)
    problems = desk.problems()
    assert problems
    assert desk.living() == OTHERS
    desk.script.alter = lambda command, row: row
    assert (desk.problems(), desk.living()) == ([], ALL)
    desk.script.alter = of_two(lambda row: change(row) if b"BODY" not in row else row)
    assert desk.problems() == problems
    assert desk.living() == ALL, "what is listed badly isn't gone"


def test_what_is_missing_in_the_fingerprints_of_known_messages_changes_nothing(desk: Desk) -> None:
    desk.scan()
    desk.script.alter = of_two(lambda row: re.sub(rb" BODY\[HEADER\].*\)", b")", row, flags=re.S))
    with desk.made.backup.reader() as reader:
        before = reader.last_sequence()
    assert desk.problems() == []
    desk.script.folders[b"INBOX"].append(Message(4, letter(4)))
    assert desk.problems() == []
    assert desk.living() == {"INBOX": ("1", "2", "3", "4")}
    with desk.made.backup.reader() as reader:
        assert reader.last_sequence() == before + 1


def test_two_messages_with_one_uid_and_two_guids_are_both_taken_at_last(desk: Desk) -> None:
    def alter(command: bytes, row: bytes) -> bytes:
        named = (
            row.replace(b" FLAGS", b" EMAILID (e%s) FLAGS" % row[2:3]) if b"FLAGS" in row else row
        )
        return named.replace(b"UID 2 ", b"UID 1 ") if faulty and b"FLAGS" in row else named

    faulty = True
    desk.script.capability = b"IMAP4rev1 OBJECTID"
    desk.script.alter = alter
    assert desk.problems()
    faulty = False
    assert (desk.problems(), desk.living()) == ([], ALL)


def test_a_uid_that_is_used_again_is_another_message(desk: Desk) -> None:
    desk.scan()
    desk.script.folders[b"INBOX"][2] = Message(3, letter(9), date=b"02-May-2024 12:00:00 +0200")
    result = desk.scan()
    assert (result.tally.created, result.tally.deleted) == (1, 1)
    assert desk.living() == {"INBOX": ("1", "2", "9")}


@pytest.mark.parametrize("command", [b"UID FETCH", b"UID SEARCH", b"NOOP", b"STATUS", b"LSUB"])
def test_a_command_that_is_refused_loses_nothing(desk: Desk, command: bytes) -> None:
    for answer in (b"%T NO later\r\n", b"%T BAD what\r\n", b"%T OK nothing\r\n"):
        desk.script.answers = {command: [answer]}
        desk.scan()
        desk.script.answers = {}
        assert (desk.problems(), desk.living()) == ([], ALL)


@pytest.mark.parametrize("missing", [b"* %d EXISTS\r\n", b"* OK [UIDVALIDITY %d] .\r\n"])
def test_what_isnt_told_when_a_folder_is_opened_is_asked_for(desk: Desk, missing: bytes) -> None:
    known = [b"* 3 EXISTS\r\n", b"* OK [UIDVALIDITY 7] .\r\n", b"* OK [UIDNEXT 100] .\r\n"]
    left = b"".join(line for line in known if line[:9] != (missing % 7)[:9].replace(b"7", b"3"))
    left = left if b"EXISTS" in missing else left.replace(known[1], b"")
    desk.script.answers = {b"EXAMINE": [left + b"%T OK done\r\n"] * 50}
    for _ in range(2):
        assert (desk.problems(), desk.living()) == ([], ALL)


def test_a_message_whose_header_ends_the_connection_costs_only_itself(desk: Desk) -> None:
    desk.script.folders[b"INBOX"] = [Message(uid, letter(uid)) for uid in range(1, 8)]
    deadly = (2, 5, 6)

    def alter(command: bytes, row: bytes) -> bytes:
        if b"BODY" in row and any(b"(UID %d " % uid in row for uid in deadly):
            return b"* BYE\r\n\0hang up\0"
        return row

    desk.script.alter = alter
    problems = desk.problems()
    assert [f"UID {uid}" in problem for uid, problem in zip(deadly, problems, strict=True)]
    assert desk.living() == {"INBOX": ("1", "3", "4", "7")}


# Folders


@pytest.mark.parametrize(
    ("line", "name", "path"),
    [
        (b'() "/" Work[2024]/Sub', b"Work[2024]/Sub", "Work[2024]/Sub"),
        (b'() "/" [x]y(z) {5', b"[x]y(z) {5", "[x]y(z) {5"),
        (b'() "/" Sent Items', b"Sent Items", "Sent Items"),
        (b'NIL "/" A', b"A", "A"),
        (b'( \\HasNoChildren  ) "/" A', b"A", "A"),
        (b'(\\X(1) "(y)") "/" A', b"A", "A"),
        (b'"/" A', b"A", "A"),
        (b'() "/" A ("CHILDINFO" ("SUBSCRIBED"))', b"A", "A"),
        (b'() "/" "A" ("CHILDINFO" ("SUBSCRIBED"))', b"A", "A"),
        (b'() "/" NIL', b"NIL", "NIL"),
        (b'() "/" {7}\r\nsay "x"', b'say "x"', 'say "x"'),
        (b'() "/" a"b', b'a"b', 'a"b'),
        (b'() "/" "a"b"', b'a"b', 'a"b'),
        (b'() "\\" A\\B', b"A\\B", "A/B"),
        (b'() "" A/B', b"A/B", "A%252FB"),
        (b'() "/" %*', b"%*", "%*"),
        (b'() "/" R&D', b"R&D", "R&D"),
        (b'() "/" Gr\xc3\xbc\xc3\x9fe', b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
        (b'() "/" \xfc', b"\xfc", "%FC"),
    ],
)
def test_folders_are_listed_in_many_ways(desk: Desk, line: bytes, name: bytes, path: str) -> None:
    desk.script.lines.append(line)
    desk.script.folders[name] = [Message(1, letter(4))]
    for _ in range(2):
        assert (desk.problems(), desk.living()) == ([], ALL | {path: ("4",)})


@pytest.mark.parametrize("line", [b'(\\Noselect) "/" ""', b'() "/" ""'])
def test_the_root_is_no_folder(desk: Desk, line: bytes) -> None:
    desk.script.lines.append(line)
    assert (desk.problems(), desk.living()) == ([], ALL)


@pytest.mark.parametrize(
    "line", [b'(() "/"', b'() "/" "Work', b'() "/" (Work"', b"Work", b"", b"(\\X", b"\0"]
)
def test_a_folder_whose_line_makes_no_sense_is_a_problem_and_not_gone(
    desk: Desk, line: bytes
) -> None:
    desk.script.lines.append(b'() "/" Work')
    desk.script.folders[b"Work"] = [Message(1, letter(4))]
    desk.scan()
    desk.script.lines[1] = line
    for _ in range(2):
        (problem,) = desk.problems()
        assert "can't be understood" in problem
        assert desk.living() == ALL | {"Work": ("4",)}


@pytest.mark.parametrize(
    "said", [b"[NONEXISTENT] where?", b"[CANNOT] no", b"Mailbox doesn't exist: Work"]
)
def test_a_folder_that_is_listed_and_cant_be_opened_keeps_its_messages(
    desk: Desk, said: bytes
) -> None:
    desk.script.lines.append(b'() "/" Work')
    desk.script.folders[b"Work"] = [Message(1, letter(4))]
    desk.scan()
    refused = [b"%T NO " + said + b"\r\n"] * 50
    desk.script.answers = {b"STATUS Work": list(refused), b"EXAMINE Work": list(refused)}
    del desk.script.folders[b"Work"]
    for _ in range(2):
        (problem,) = desk.problems()
        assert "Work" in problem
        assert desk.living() == ALL | {"Work": ("4",)}
    del desk.script.lines[1]
    assert (desk.problems(), desk.living()) == ([], ALL), "now it is gone"


def test_a_folder_that_was_never_there_is_no_problem(desk: Desk) -> None:
    desk.script.lines.append(b'() "/" Ghost')
    for _ in range(2):
        assert (desk.problems(), desk.living()) == ([], ALL)


def test_an_inbox_that_isnt_listed_is_there(desk: Desk) -> None:
    desk.scan()
    desk.script.lines = [b'() "/" Work']
    desk.script.folders[b"Work"] = [Message(1, letter(4))]
    assert (desk.problems(), desk.living()) == ([], ALL | {"Work": ("4",)})


def test_an_inbox_is_read_whatever_is_said_of_it(desk: Desk) -> None:
    desk.script.lines = [b'(\\Noselect) "/" INBOX', b'() "/" Work']
    desk.script.folders[b"Work"] = [Message(1, letter(4))]
    for _ in range(2):
        assert (desk.problems(), desk.living()) == ([], ALL | {"Work": ("4",)})


@pytest.mark.parametrize("order", [1, -1])
def test_a_folder_that_is_listed_twice_can_be_opened_if_either_says_so(
    desk: Desk, order: int
) -> None:
    desk.script.lines += [b'(\\HasChildren) "/" Work', b'(\\Noselect) "/" Work'][::order]
    desk.script.folders[b"Work"] = [Message(1, letter(4))]
    assert (desk.problems(), desk.living()) == ([], ALL | {"Work": ("4",)})


def test_a_list_with_gaps_doesnt_make_an_account_anothers(desk: Desk) -> None:
    """Neither its inbox nor what else it has can be compared: that proves nothing."""
    desk.script.lines.append(b'() "/" Work')
    desk.script.folders[b"Work"] = [Message(1, letter(4))]
    refused = [b"%T NO [CANNOT] not now\r\n"] * 50
    desk.script.answers = {b"STATUS INBOX": list(refused), b"EXAMINE INBOX": list(refused)}
    desk.scan()
    desk.script.answers = {}
    desk.script.lines[1] = b"(()"
    result = desk.scan()
    assert (result.events, result.tally.deleted) == ([], 0)
    (problem,) = result.tally.problems
    assert "whose mailbox it is" in str(problem)
    assert desk.living() == {"Work": ("4",)}
    desk.script.lines[1] = b'() "/" Work'
    assert (desk.problems(), desk.living()) == ([], ALL | {"Work": ("4",)})


def test_folders_that_are_listed_and_say_they_arent_there_dont_make_an_account_anothers(
    desk: Desk,
) -> None:
    desk.script.lines.append(b'() "/" Work')
    desk.script.folders[b"Work"] = [Message(1, letter(4))]
    desk.scan()
    gone = [b"%T NO [NONEXISTENT] gone\r\n"] * 50
    desk.script.answers = {b"STATUS": list(gone), b"EXAMINE": list(gone)}
    for _ in range(2):
        result = desk.scan()
        assert (result.events, result.tally.deleted) == ([], 0)
        assert result.tally.problems
    desk.script.answers = {}
    assert (desk.problems(), desk.living()) == ([], ALL | {"Work": ("4",)})


def test_a_set_of_uids_that_makes_no_sense_is_not_told(desk: Desk) -> None:
    desk.script.capability = b"IMAP4rev1 ESEARCH"
    desk.script.alter = of_two(lambda row: b"")
    desk.script.answers = {b"UID SEARCH": [b"* ESEARCH UID ALL 1:*,x\r\n%T OK done\r\n"] * 50}
    assert desk.problems()
    assert desk.living() == OTHERS


def test_a_name_of_very_many_levels_is_one_folder(desk: Desk) -> None:
    name = b"d/" * 20_000 + b"d"
    desk.script.lines.append(b'() "/" ' + name)
    desk.script.folders[name] = [Message(1, letter(4))]
    for _ in range(2):
        assert desk.problems() == []
        (folder,) = desk.living().keys() - ALL.keys()
        assert "/" not in folder
        assert desk.living()[folder] == ("4",)


def test_names_that_cant_be_mended_are_told_apart_and_are_no_problem(desk: Desk) -> None:
    desk.script.lines += [b'() "/" R&D', b'() "/" R&-D']
    desk.script.folders |= {b"R&D": [Message(1, letter(4))], b"R&-D": [Message(1, letter(5))]}
    for _ in range(2):
        assert desk.problems() == []
        assert desk.living() == ALL | {"R&D": ("5",), "R&D~2": ("4",)}


def test_a_message_that_is_not_told_of_when_uids_change_is_not_gone(desk: Desk) -> None:
    """A new UIDVALIDITY, and a row that is missing."""
    script = desk.script
    script.folders[b"INBOX"] = [Message(uid, letter(uid)) for uid in range(1, 13)]
    assert desk.problems() == []
    before = desk.living()
    script.validity += 1
    for message in script.folders[b"INBOX"]:
        message.uid += 20
    script.alter = lambda command, row: b"" if b"(UID 25 " in row else row
    result = desk.scan()
    assert ["UID 25: the server doesn't list it" in str(p) for p in result.tally.problems] == [True]
    assert (result.tally.created, result.tally.deleted) == (0, 0)
    assert desk.living() == before
    script.alter = lambda command, row: row
    result = desk.scan()
    assert result.tally.problems == []
    assert (result.tally.created, result.tally.changed, result.tally.deleted) == (0, 1, 0)
    assert desk.living() == before
    del script.folders[b"INBOX"][4]
    assert desk.scan().tally.deleted == 1
