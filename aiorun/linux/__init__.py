"""The system calls, a file for each family: one function each, OSError with the path. Nobody else touches ctypes."""
