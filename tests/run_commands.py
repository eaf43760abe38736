"""Runs of the command line for tests: their arguments, and what they left on the disk."""

import json

MODEL = ("--hidden-size", "8", "--microbatches", "1")
SHORT = (*MODEL, "--total-examples", "16000")  # 125 steps
SEGMENTS = ("--checkpoint-every", "20", "--no-report")
SMALL = (*SHORT, *SEGMENTS)
# The same programs, and no end that a test would see.
ENDLESS = (*MODEL, "--total-examples", "10000000000")
HOURS = (*ENDLESS, *SEGMENTS)


def record_of(runs, name="digits"):
    """Returns the record of the only run of this name."""
    (path,) = (runs / name).glob("*/record.json")
    return json.loads(path.read_text())


def digests(runs):
    """Returns the SHA-256 of each member's parameters, by the member's digest."""
    return {key: m["parameters_sha256"] for key, m in record_of(runs)["members"].items()}
