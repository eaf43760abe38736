"""The report: one page, its figures, and the page to draw on."""

import logging

# It would tell everyone without a writable home that its fonts are looked up anew.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
