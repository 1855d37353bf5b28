"""What each corpus is, and readers of its official files."""
