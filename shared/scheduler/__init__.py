"""The scheduler: sweeps of due alarms, the heartbeat, and the dead letters."""
