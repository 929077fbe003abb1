"""The workers: one loop that knows no queue, and one handler module per queue."""
