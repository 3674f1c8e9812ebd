"""What a backup has: its accounts, its history, search, figures, damage. Reads only."""
