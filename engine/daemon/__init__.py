"""The daemon: what keeps a backup path up to date without anybody's doing.

    schedule.py   when jobs are due (pure)
    metrics.py    figures for Prometheus
    parts.py      threads that are started again when they fail
    daemon.py     all of it together: one process a backup path

`engine.system.heartbeat` is what it leaves for other processes to see.
"""
