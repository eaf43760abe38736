"""None of sixty settings of the environment changes a bit without changing the identity."""

import json
import os
import subprocess
import sys
from pathlib import Path

from lstm_jax.runs import provenance

PROGRAM = Path(__file__).parent.parent / "bits_by_setting.py"
XLA = (
    *(f"xla_cpu_enable_fast_math={to}" for to in ("true", "false")),
    *(f"xla_cpu_enable_fast_min_max={to}" for to in ("true", "false")),
    *(f"xla_cpu_max_isa={isa}" for isa in ("SSE4_2", "AVX", "AVX2", "AVX512")),
    *(f"xla_cpu_prefer_vector_width={width}" for width in (128, 256, 512)),
    *(f"xla_backend_optimization_level={level}" for level in (0, 1, 2)),
    *("xla_cpu_multi_thread_eigen=false", "xla_llvm_disable_expensive_passes=true"),
    *("xla_allow_excess_precision=false", "xla_cpu_parallel_codegen_split_count=1"),
    *("xla_cpu_copy_insertion_use_region_analysis=true", "xla_disable_all_hlo_passes=true"),
    *("xla_disable_hlo_passes=algsimp", "xla_disable_hlo_passes=fusion,dot-library-rewriter"),
    *("xla_force_host_platform_device_count=3", "xla_dump_hlo_as_text=false"),
    "xla_cpu_enable_concurrency_optimized_scheduler=true",
    "xla_cpu_enable_platform_dependent_math=true",
)  # fmt: skip
VARIABLES = (
    *(f"ONEDNN_MAX_CPU_ISA={isa}" for isa in ("SSE41", "AVX", "AVX2")),
    *(f"DNNL_MAX_CPU_ISA={isa}" for isa in ("SSE41", "AVX", "AVX2")),
    *(f"ONEDNN_DEFAULT_FPMATH_MODE={mode}" for mode in ("BF16", "TF32", "ANY")),
    *("ONEDNN_CPU_ISA_HINTS=PREFER_YMM", "ONEDNN_PRIMITIVE_CACHE_CAPACITY=0", "ONEDNN_VERBOSE=0"),
    *("OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "PJRT_NPROC=1", "NPROC=1", "LC_ALL=C"),
    *("TF_ENABLE_ONEDNN_OPTS=1", "TF_NUM_INTRAOP_THREADS=1", "EIGEN_NUM_THREADS=1"),
    *("XLA_PYTHON_CLIENT_PREALLOCATE=false", "PYTHONHASHSEED=7", "TZ=Asia/Tokyo"),
)  # fmt: skip
OPTIONS = {
    "jax_default_matmul_precision": "bfloat16",
    "jax_default_prng_impl": "rbg",
    "jax_disable_jit": True,
    "jax_disable_most_optimizations": True,
    "jax_enable_x64": True,
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 1,
    "jax_softmax_custom_jvp": True,
    "jax_use_direct_linearize": False,
    "jax_numpy_rank_promotion": "raise",
    "jax_debug_nans": True,
    "jax_num_cpu_devices": 2,
    "jax_cpu_enable_async_dispatch": False,
}


def test_no_setting_changes_bits_without_changing_the_identity(tally):
    """A flag that this XLA does not know ends the process, so it changes nothing."""
    settings = {flag: ({"XLA_FLAGS": f"--{flag}"}, {}) for flag in XLA}
    settings |= {pair: (dict([pair.split("=")]), {}) for pair in VARIABLES}
    settings |= {f"{name}={value}": ({}, {name: value}) for name, value in OPTIONS.items()}
    bare = {k: v for k, v in os.environ.items() if not k.startswith(provenance.SETTINGS)}
    done = subprocess.run(
        [sys.executable, PROGRAM, json.dumps(settings | {"none": ({}, {})}), "loops"],
        env=bare | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    outcomes = json.loads(done.stdout)
    plain = outcomes.pop("none")
    known = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
    changing = [name for name, outcome in known.items() if outcome["bits"] != plain["bits"]]
    unnoticed = [name for name in changing if known[name]["identity"] == plain["identity"]]
    fault, tries = f"settings, of which {len(changing)} change bits", len(known)
    tally(fault, tries, tries - len(unnoticed))
    assert len(known) >= 60, f"unknown: {sorted(outcomes.keys() - known.keys())}"
    assert len(changing) > 5
    assert not unnoticed
