"""The builds of the service that are compared: this checkout, and another commit."""
