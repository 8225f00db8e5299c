"""Pure: gates, which limit how many responses are at work at one upstream at once."""
