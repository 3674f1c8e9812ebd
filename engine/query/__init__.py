"""What a backup has: its accounts, its history, search, figures, damage. Reads the
journal; writes only what somebody acknowledged (`succession`), and the list of damage."""
