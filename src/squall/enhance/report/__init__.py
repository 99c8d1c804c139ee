"""What a report of enhancement experiments shows."""
