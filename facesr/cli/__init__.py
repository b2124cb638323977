"""The command line: options in, one workflow called, its result shown."""
