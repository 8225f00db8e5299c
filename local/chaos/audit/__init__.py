"""What must hold when everything is quiet again, looked at from outside."""
