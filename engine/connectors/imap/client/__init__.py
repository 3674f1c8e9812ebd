"""A client of IMAP (RFC 3501, RFC 9051) and ManageSieve (RFC 5804). Knows nothing of backups."""
