"""What a laptop needs in place of Azure: Azurite, a Functions host, a simulated model, the demo."""
