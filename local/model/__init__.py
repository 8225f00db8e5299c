"""A simulated model behind the Responses contract: free, without a key, and it says that it is simulated."""
