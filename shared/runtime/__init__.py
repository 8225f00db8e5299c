"""What every flow is given to act with: the ports to the outside, the configuration, the unit of work."""
