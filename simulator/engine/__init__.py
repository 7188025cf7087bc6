"""The discrete-event engine: the clock, the user pool, serving, snapshots and the event log."""
