"""What produces the answers: any server of the Responses API, and agents of Microsoft Agent Framework."""
