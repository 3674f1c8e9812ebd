"""What can be set of a backup path: the table, the types, the file, and where secrets are."""
