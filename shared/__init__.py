"""Background Responses, the product: pure rules and the parts that touch the world, joined by the engine."""
