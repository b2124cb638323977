"""Speed against plain references: `python -m tests.benchmarks --help`. Not part of the tests."""
