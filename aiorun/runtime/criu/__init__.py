"""criu, which checkpoints and restores processes: its messages, and one that works for us."""
