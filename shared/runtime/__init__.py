"""What every flow runs on: the ports to the outside, the configuration and the unit of work."""
