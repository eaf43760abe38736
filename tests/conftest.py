"""Strict everywhere: warnings are errors, no silent promotion of types or ranks.

The tests run on four host devices, whatever the machine has, so that every placement is tried.
"""

import os

os.environ["JAX_NUM_CPU_DEVICES"] = "4"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
