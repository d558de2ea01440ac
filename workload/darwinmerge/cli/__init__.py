"""The `darwin` command: a thin layer that parses, calls and prints."""
