"""How an init comes to be: sealing the interpreter, and cloning an init out of it, here or in the launcher."""
