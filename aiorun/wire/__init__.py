"""What init, launcher and parent tell each other, as plain data: a plan of operations, a few messages, JSON."""
