"""What may change, all of it pure: the transitions that decide change sets from a record as read."""
