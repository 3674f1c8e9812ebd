"""A client of IMAP (RFC 3501, RFC 9051) and ManageSieve (RFC 5804). Of backups it knows
only the connector's options, and how it names identities and folders."""
