"""What a job requests, and how requests are checked."""
