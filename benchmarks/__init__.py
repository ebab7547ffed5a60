"""What an ML engineer runs: quality, speed, load."""
