"""Table Storage and Queue Storage: all access to the table and to the service's own queues."""
