"""Gates as the flows use them: permits of upstreams, the lines of waiting responses, and their rounds."""
