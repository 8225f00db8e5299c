"""The rows of gates, and the access to them."""
