"""A FUSE file system that shows a backup as it was at any instant."""
