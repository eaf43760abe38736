"""What a run's numbers depended on, as JSON values: versions, device, settings, code.

`identity` holds what the bits of a result may depend on; `session_provenance` what
they may not depend on and is worth knowing all the same.
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
# Where they are installed: a GPU's.
DEVICE_LIBRARIES = re.compile(
    r"jax-cuda\d+-(plugin|pjrt)|nvidia-(cudnn|cublas|cusolver|cuda-nvcc|nvjitlink)\b.*"
)
# JAX's options that may reach the bits, as they usually are: only others are worth a line.
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
# Variables that compilers and libraries of products obey.
SETTINGS = (
    *("JAX_", "XLA_", "PJRT_", "LIBTPU_", "ONEDNN_", "DNNL_", "OPENBLAS_", "NVIDIA_TF32"),
    *("CUBLAS", "CUDNN_", "CUDA_", "TF_CUDNN_", "TF_CUBLAS_", "TF_ENABLE_", "TF_DISABLE_"),
    *("ROCBLAS_", "HIPBLASLT_", "MIOPEN_"),
)
# Of these: where compiled programs are kept, how many devices and threads share the work (`make
# bits` shows that it changes no bit), what is logged, checked and shown, which devices are seen.
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
HARMLESS_FLAGS = ("--xla_force_host_platform_device_count", "--xla_dump_")


def identity(data_fingerprint: str, others: Iterable[str] = ()) -> dict[str, Any]:
    """Everything that a member's bits may depend on besides its experiment. Starts JAX.

    `others` are further libraries whose versions count.
    """
    import jax  # here, since `cores` is asked before JAX may be imported

    return {
        "versions": {name: metadata.version(name) for name in (*LIBRARIES, *others)}
        | _device_libraries(),
        "platform": jax.default_backend(),
        "device_kind": _processor()
        if jax.default_backend() == "cpu"
        else jax.devices()[0].device_kind,
        "instruction_set": _instruction_set(),
        "settings": _settings_that_count(),
        "data": data_fingerprint,
    }


def digest(identity: dict[str, Any]) -> str:
    """Twelve hex digits that name an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def changed(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """A line for each entry of the identity that is not as it was, nested ones by their path."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += changed(old, new, f"{path}{name}.")
        elif old != new:
            lines.append(f"{path}{name} was {old!r}, is {new!r}")
    return lines


def session_provenance() -> dict[str, Any]:
    """Where and how the run was made: no bit depends on it."""
    import jax

    # An installed package may lie in a checkout of somebody else's: then git does not know it.
    known = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    return {
        "commit": _git("rev-parse", "HEAD") if known else None,
        "dirty": _dirty() if known else None,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": cores(),
        "devices": len(jax.devices()),
        "settings": _settings(),
        # As it was typed: a launcher adds `--join` for its processes.
        "command": [word for word in sys.argv[1:] if word != "--join" or PARENT not in os.environ],
    }


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _device_libraries() -> dict[str, str]:
    """Versions of the GPU's libraries, where JAX runs on one."""
    import jax

    if jax.default_backend() == "cpu":
        return {}
    found = {dist.name.lower(): dist.version for dist in metadata.distributions()}
    return {name: found[name] for name in sorted(found) if DEVICE_LIBRARIES.fullmatch(name)}


def _settings() -> dict[str, str]:
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)}


def _settings_that_count() -> dict[str, Any]:
    """What was set that may reach the bits, by content, however it was set."""
    import jax

    options = {name: jax.config.values.get(name, usual) for name, usual in OPTIONS.items()}
    settings: dict[str, Any] = {
        name: str(value) for name, value in options.items() if value != OPTIONS[name]
    }
    for name, value in _settings().items():
        if name == "XLA_FLAGS":
            if flags := _xla_flags(value):
                settings[name] = " ".join(flags)
        elif not name.startswith(HARMLESS) and name.lower() not in OPTIONS:
            settings[name] = value
    return settings


def _xla_flags(value: str) -> list[str]:
    """The flags in the variable, or in the file that it names, but for those without effect."""
    if not value.lstrip().startswith("-"):
        try:
            value = Path(value).read_text()
        except OSError:
            return [value]
    return [flag for flag in value.split() if not flag.startswith(HARMLESS_FLAGS)]


def _instruction_set() -> str:
    """The processor's vector extensions; XLA's CPU backend compiles for the best of them."""
    flags = _cpuinfo().get("flags", "").split()
    vector = sorted(flag for flag in flags if flag.startswith(("avx", "amx", "fma", "sse4")))
    return " ".join([platform.machine(), *vector])


def _processor() -> str:
    """Maker and model: the sizes of its caches decide in which order a product adds."""
    fields = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    named = [f"{name} {value}" for name in fields if (value := _cpuinfo().get(name))]
    return ", ".join(named) or platform.processor() or platform.machine()


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first core; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _git(*arguments: str) -> str | None:
    """What git says of the checkout this package runs from; None outside one."""
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


def _dirty() -> bool | None:
    changes = _git("status", "--porcelain")
    return None if changes is None else bool(changes)
