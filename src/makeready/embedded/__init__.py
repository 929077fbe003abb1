"""What `makeready up` starts by itself when nothing is configured: Postgres, S3, Chromium."""
