"""Lists of responses and of deliveries, for callers and for operators. They read entries, and no records."""
