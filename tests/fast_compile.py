"""`jax.jit` for tests of mathematics: it compiles in a fifth of the time, to a slower program.

XLA and LLVM skip most optimisations, so results differ from a user's by rounding. Tests of bits use
`jax.jit` itself, because a user's compiler may change them: `test_sweep.py`, `test_golden.py`,
`test_run.py` and `test_reproduce.py`. `conftest.py` lowers the level of optimisation even there;
`make bits` compares members as users run them.
"""

from contextlib import contextmanager
from functools import partial
from unittest import mock

import jax

from lstm_jax.train import placement as placing

OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
fast_jit = partial(jax.jit, compiler_options=OPTIONS)


@contextmanager
def fast_programs():
    """Compiles the programs of the package with `fast_jit` too, and forgets them afterwards."""
    placing._compiled.cache_clear()
    with mock.patch.object(jax, "jit", fast_jit):
        yield
    placing._compiled.cache_clear()
