"""What a run's numbers depend on, as JSON values: versions, device, settings, code.

`identity` holds everything that may change the bits of a result. `session_provenance` holds what
does not change them and is worth knowing all the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from lstm_jax.config.shards import PARENT

# SciPy's LAPACK makes the orthogonal kernels.
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
# Libraries of a GPU, where they are installed.
DEVICE_LIBRARIES = re.compile(
    r"jax-cuda\d+-(plugin|pjrt)|nvidia-(cudnn|cublas|cusolver|cuda-nvcc|nvjitlink)\b.*"
)
# JAX's options that may change the bits, with their defaults: only other values are recorded.
OPTIONS = {
    "eager_constant_folding": False,
    "jax_compiler_enable_remat_pass": True,
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_enable_pgle": False,
    "jax_enable_x64": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_memory_fitting_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_optimization_level": "UNKNOWN",
    "jax_random_seed_offset": 0,
    "jax_softmax_custom_jvp": False,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_threefry_partitionable": True,
    "jax_use_direct_linearize": True,
    "jax_use_magma": "auto",
}
# Prefixes of variables that compilers and libraries for matrix products read.
SETTINGS = (
    *("JAX_", "XLA_", "PJRT_", "LIBTPU_", "ONEDNN_", "DNNL_", "OPENBLAS_", "NVIDIA_TF32"),
    *("CUBLAS", "CUDNN_", "CUDA_", "TF_CUDNN_", "TF_CUBLAS_", "TF_ENABLE_", "TF_DISABLE_"),
    *("ROCBLAS_", "HIPBLASLT_", "MIOPEN_"),
)
# Those of them that change no bit: where compiled programs are kept, how many devices and threads
# share the work (`make bits` shows it), what is logged and checked, which devices are visible.
HARMLESS = (
    *("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE", "JAX_ENABLE_COMPILATION_CACHE"),
    *("JAX_RAISE_PERSISTENT_CACHE_ERRORS", "JAX_NUM_CPU_DEVICES", "PJRT_NPROC"),
    *("OPENBLAS_NUM_THREADS", "JAX_CPU_ENABLE_ASYNC_DISPATCH", "JAX_PLATFORM"),
    *("JAX_DEBUG_", "JAX_LOG", "JAX_EXPLAIN_CACHE_MISSES", "JAX_TRACEBACK", "JAX_DUMP_IR"),
    *("JAX_CHECK_", "JAX_ENABLE_CHECKS", "JAX_TRANSFER_GUARD", "JAX_NUMPY_DTYPE_PROMOTION"),
    *("JAX_NUMPY_RANK_PROMOTION", "JAX_CUDA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    *("CUDA_DEVICE_ORDER", "CUDA_CACHE_", "CUDA_VERSION", "ONEDNN_VERBOSE", "DNNL_VERBOSE"),
    *("OPENBLAS_VERBOSE", "JAX_COORDINATOR", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    "JAX_LOCAL_DEVICE_IDS",
)
HARMLESS_FLAGS = (
    *("--xla_force_host_platform_device_count", "--xla_dump_"),
    *("--xla_cpu_collective_call_", "--xla_cpu_collective_timeout_"),  # how long devices wait
)


def identity(data_fingerprint: str, program: str, libraries: Iterable[str] = ()) -> dict[str, Any]:
    """Returns everything besides its experiment that a member's bits may depend on. Starts JAX.

    `program` is the SHA-256 of the member's program (`code.py`). `libraries` are further ones whose
    versions count.
    """
    import jax  # not at the top: `cores` is called before JAX may be imported

    versions = {name: metadata.version(name) for name in (*LIBRARIES, *libraries)}
    if jax.default_backend() == "cpu":
        device = {"processor": _processor()}
    else:
        device = {"device_kind": jax.devices()[0].device_kind}
        installed = {dist.name.lower(): dist.version for dist in metadata.distributions()}
        versions |= {n: installed[n] for n in sorted(installed) if DEVICE_LIBRARIES.fullmatch(n)}
    return {
        "versions": versions,
        "platform": jax.default_backend(),
        **device,
        "instruction_set": _instruction_set(),
        "settings": _settings_that_count(),
        "data": data_fingerprint,
        "program": program,
    }


def programs(identities: dict[str, Any], trained_under: str) -> list[str]:
    """Returns the programs of the identity that a result names: one, or all of a mixed one."""
    digests = trained_under.removeprefix("mixed ").split(" ")
    return [identities[digest].get("program", "") for digest in digests if digest in identities]


def digest(identity: dict[str, Any]) -> str:
    """Returns twelve hex digits that name an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def changed(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """Returns a line for each entry of an identity that has changed; nested ones by their path."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += changed(old, new, f"{path}{name}.")
        elif old != new:
            lines.append(f"{path}{name} was {old!r}, is {new!r}")
    return lines


def session_provenance() -> dict[str, Any]:
    """Returns where and how the run was made. The bits depend on none of it."""
    import jax

    # The package may be installed inside somebody else's checkout: then git does not track it.
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    changes = _git("status", "--porcelain") if tracked else None
    return {
        "commit": _git("rev-parse", "HEAD") if tracked else None,
        "dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": cores(),
        "devices": len(jax.devices()),
        "settings": _settings(),
        # As the user typed it: the launcher adds `--join` for its processes.
        "command": [word for word in sys.argv[1:] if word != "--join" or PARENT not in os.environ],
    }


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _settings() -> dict[str, str]:
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)}


def _settings_that_count() -> dict[str, Any]:
    """Returns the options and variables with other values than usual that may change the bits.

    An option has the same entry whether it was set in Python or as a variable, and flags have the
    same entry whether they stand in the variable or in a file that it names.
    """
    import jax

    settings: dict[str, Any] = {}
    for name, usual in OPTIONS.items():
        # A context manager sets an option for its thread alone, where `values` does not show it.
        values = jax.config.values.get(name, usual), getattr(jax.config, name, usual)
        if changed_values := [value for value in values if value != usual]:
            settings[name] = str(changed_values[0])
    for name, value in _settings().items():
        if name == "XLA_FLAGS":
            if flags := _xla_flags(value):
                settings[name] = " ".join(flags)
        elif not name.startswith(HARMLESS) and name.lower() not in OPTIONS:
            settings[name] = value
    return settings


def _xla_flags(value: str) -> list[str]:
    """Returns the flags in the variable, or in the file it names, that may change the bits."""
    if not value.lstrip().startswith("-"):
        try:
            value = Path(value).read_text()
        except OSError:
            return [value]
    return [flag for flag in value.split() if not flag.startswith(HARMLESS_FLAGS)]


def _instruction_set() -> str:
    """Returns the vector extensions of the processor: XLA compiles for the best of them."""
    flags = _cpuinfo().get("flags", "").split()
    vector = sorted(flag for flag in flags if flag.startswith(("avx", "amx", "fma", "sse4")))
    return " ".join([platform.machine(), *vector])


def _processor() -> str:
    """Returns the processor's vendor, family and model.

    The sizes of its caches decide the order of additions in a product, and so the bits.
    """
    fields = {"vendor_id": "vendor", "cpu family": "family", "model": "model"}
    fields |= {"CPU implementer": "implementer", "CPU part": "part"}  # of ARM
    info = _cpuinfo()
    known = [f"{label} {info[name]}" for name, label in fields.items() if info.get(name)]
    return ", ".join(known) or platform.processor() or platform.machine()


def _cpuinfo() -> dict[str, str]:
    """Returns what Linux reports of the first core; nothing on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _git(*arguments: str) -> str | None:
    """Returns the output of git in the checkout that holds this package; None outside one."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
