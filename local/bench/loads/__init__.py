"""The loads, and the runs that apply them to a fresh stack."""
