"""The command `start`: the stack until Ctrl-C, what to paste, and each callback as it arrives."""
