"""The gate: is a candidate better than the champion, and the verdict that says why."""
