"""The words of mail and time as values: items, errors, names, timestamps, messages. Pure."""
