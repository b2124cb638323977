"""Kills, pipes, devices and limits of memory are those of POSIX."""

import os

collect_ignore_glob = ["test_*.py"] if os.name == "nt" else []
