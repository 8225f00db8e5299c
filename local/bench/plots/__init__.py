"""The pages of figures that a run prints and writes."""
