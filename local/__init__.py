"""What replaces Azure on a laptop: Azurite, a Functions host and a simulated model, with demos and benchmarks."""
