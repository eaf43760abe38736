"""`jax.jit` for tests of mathematics: compiled in a fifth of the time, to a slower program.

What XLA and LLVM would optimise is left as it is written, so results differ from a user's by
rounding. What a user's compiler may change is tested with `jax.jit`: the bits of members
(`test_sweep.py`, `test_golden.py`, `test_run.py`, `test_reproduce.py`). Even that is compiled as
`conftest.py` says; as users run it, members are compared by `make bits`.
"""

from contextlib import contextmanager
from functools import partial
from unittest import mock

import jax

from lstm_jax.train import sweep

OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
quick = partial(jax.jit, compiler_options=OPTIONS)


@contextmanager
def quick_programs():
    """Has the package compile its own programs like this too; they are forgotten afterwards."""
    sweep._compiled.cache_clear()
    with mock.patch.object(jax, "jit", quick):
        yield
    sweep._compiled.cache_clear()
