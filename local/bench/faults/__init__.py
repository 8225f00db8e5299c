"""Runs in which something breaks: what is lost, what is done twice, and how late the callbacks come."""
