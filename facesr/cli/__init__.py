"""The command line: parse the options, call one workflow, show its result."""
