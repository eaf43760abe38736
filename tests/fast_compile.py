"""`jax.jit` for tests of mathematics: it compiles in a fifth of the time, to a slower program.

XLA and LLVM skip most optimisations, so results differ from a user's by rounding. Tests that
compare one way of training with another use `jax.jit` itself: `test_sweep.py`, `test_run.py` and
`test_reproduce.py`. `conftest.py` lowers the level of optimisation even there. `test_golden.py`
compares with recorded bits, so it compiles as a user does, and `make bits` compares members so.
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
users_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})


@contextmanager
def programs_by(jit):
    """Compiles the programs of the package with `jit`, and forgets them afterwards."""
    placing._compiled.cache_clear()
    with mock.patch.object(jax, "jit", jit):
        yield
    placing._compiled.cache_clear()
