"""The documents that `--json` prints, as types: one module a verb, for whoever shows them.

Each module has `DOCUMENTS`, the forms that the verb's document has, and functions that make them
of what services return. `schema.py` publishes them as JSON Schema. A name means the same in all:

    account     an account's name                  item     the ID of an item, also of an account
    id          the ID of what the document is     kind     of what kind that is
    start, end  times; so is whatever is a past participle, null where it didn't happen
    bytes       of all together                    size     of one item
    what        what is wrong, in a line           errors   a list of what is wrong
"""
