"""The command line: one file a command, each a dataclass of options with a `run` method."""
