"""The interpreter of a plan, inside the container: one function for each operation. Begin with `main`."""
