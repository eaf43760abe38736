"""What a run's numbers depended on, as JSON values: versions, device, settings, code.

`identity` holds what the bits of a result may depend on; `circumstances` what they may not, and
one wants to know all the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
# Where they are installed: a GPU's.
DEVICE_LIBRARIES = re.compile(r"jax-cuda\d+-plugin|nvidia-(cudnn|cublas)\b.*")
SETTINGS = ("JAX_", "XLA_", "PJRT_", "CUBLAS_", "NVIDIA_TF32")
# Where compiled programs are kept, how many devices and threads share the work: `make bits` shows
# that none of it changes a bit.
HARMLESS = (
    "JAX_COMPILATION_CACHE_DIR", "JAX_NUM_CPU_DEVICES", "JAX_PERSISTENT_CACHE", "PJRT_NPROC"
)  # fmt: skip


def identity(data_fingerprint: str) -> dict[str, Any]:
    """Everything that a member's bits may depend on besides its experiment. Starts JAX."""
    import jax  # here, since `cores` is asked before JAX may be imported

    return {
        "versions": {name: metadata.version(name) for name in LIBRARIES} | _device_libraries(),
        "platform": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "instruction_set": _instruction_set(),
        "settings": {k: v for k, v in _settings().items() if not k.startswith(HARMLESS)},
        "data": data_fingerprint,
    }


def digest(identity: dict[str, Any]) -> str:
    """Twelve hex digits that name an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def circumstances() -> dict[str, Any]:
    """Where and how the run was made: no bit depends on it."""
    import jax

    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": _dirty(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": cores(),
        "devices": len(jax.devices()),
        "settings": _settings(),
        "command": sys.argv[1:],
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


def _instruction_set() -> str:
    """The processor's vector extensions; XLA's CPU backend compiles for the best of them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    vector = sorted(flag for flag in flags if flag.startswith(("avx", "amx", "fma", "sse4")))
    return " ".join([platform.machine(), *vector])


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
