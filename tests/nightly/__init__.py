"""What takes long to install or to run: clients and examples as users have them. `make clients` runs it."""
