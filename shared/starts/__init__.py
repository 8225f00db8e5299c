"""What a caller asks for is checked and accepted, and then started at an upstream."""
