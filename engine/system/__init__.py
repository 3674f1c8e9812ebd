"""What the engine asks of the machine: files, locks, clock, space, logs, systemd. Knows no mail."""
