"""What a report of recognition experiments shows."""
