"""The real-time scan: follows the events of the sources, and records each change as it happens.

agenda.py    which account is to be looked at, and when (pure)
queue.py     the same for several threads
arrivals.py  accounts that came, went or were renamed, and everything when events were lost
follower.py  all of it together: events in, commits out
"""
