"""What a view holds: names, folders, attributes. Knows no FUSE."""
