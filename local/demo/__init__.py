"""The demos: one response from end to end, and a stream through cut connections and a killed host."""
