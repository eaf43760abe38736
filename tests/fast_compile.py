"""`jax.jit` for tests of mathematics: it compiles in a fifth of the time, to a slower program.

XLA and LLVM skip most optimisations, so results differ from a user's by rounding. `conftest.py`
lowers the level of optimisation for `jax.jit` itself, and leaves fusion out. Without fusion a
member's bits depend on the program around it, so tests that compare a member in two programs use
`fused_jit`: `test_sweep.py`, `test_shards.py`, `test_patience.py` and `test_reproduce.py`.
`test_golden.py` compares with recorded bits, so it compiles as a user does, and `make bits`
compares members so.
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
fused_jit = partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True})
users_jit = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 3,
        "xla_cpu_use_fusion_emitters": True,
    },
)


@contextmanager
def programs_by(jit):
    """Compiles the programs of the package with `jit`, and forgets them afterwards."""
    placing._compiled.cache_clear()
    with mock.patch.object(jax, "jit", jit):
        yield
    placing._compiled.cache_clear()
