"""Background Responses, the product: pure rules, the modules that do I/O, and the engine that joins them."""
