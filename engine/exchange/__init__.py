"""The ways out of a backup path and into one: exports and imports."""
