"""What this machine can run: each part is tried, and each gap comes with the command that fills it."""
