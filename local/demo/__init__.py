"""The demos: one response from start to end, and a stream through cut connections and a killed host."""
