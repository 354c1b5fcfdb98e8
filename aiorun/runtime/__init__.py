"""The lifecycles over a Waiter: create, start, run, kill, delete, hooks. Commands and the library call the same ones."""
