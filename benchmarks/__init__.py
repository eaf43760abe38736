"""The recurrence beside its peers: `python -m benchmarks.compare --help`."""
