"""What makes things happen in time: sweeps of due alarms, the heartbeat, the dead letters."""
