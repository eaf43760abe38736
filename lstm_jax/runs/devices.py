"""The settings that JAX reads once, when it starts, and the devices that it then has."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.errors import EnvironmentProblem, one_line
from lstm_jax.runs.provenance import cores


def prepare_jax(platform: str, say: Say = say_nothing, *, join: bool = False) -> None:
    """Makes the settings that JAX reads once, when it starts; what the user has set stays.

    With `join`, this process becomes one of several that are one program.

    In a process in which JAX has started, its devices are taken as they are, and `say` hears what
    that costs. Raises EnvironmentProblem when the platform asked for is not here.
    """
    if "jax" not in sys.modules:
        _set_environment(platform)
    else:
        _set_options(platform)
    if join:
        _join()
    try:
        import jax

        devices = jax.devices()
    except Exception as error:  # JAX's own settings may be wrong in any way
        reason = str(error) or "no such device"
        raise EnvironmentProblem(
            f"JAX finds no device for platform {platform} ({reason[:200]}); check "
            "JAX_* settings, use --platform cpu, or `make experiment EXTRAS=cuda13` (cuda12, tpu)"
        ) from error
    found = devices[0].platform
    if platform not in ("auto", found):
        raise EnvironmentProblem(f"JAX runs on {found} in this process already, not on {platform}")
    if found == "cpu" and len(devices) == 1 < cores() and "JAX_NUM_CPU_DEVICES" not in os.environ:
        say(
            f"note: JAX was started with one CPU device for {cores()} cores: the bits are the "
            f"same, training may take up to {cores()} times as long; call lstm_jax.run before any "
            f"other use of JAX, or set JAX_NUM_CPU_DEVICES={cores()}"
        )
    if found == "gpu" and "xla_gpu_deterministic_ops" not in os.environ.get("XLA_FLAGS", ""):
        say(
            "note: JAX was started without --xla_gpu_deterministic_ops=true in XLA_FLAGS: the bits "
            "may differ from one run to the next"
        )


def _join() -> None:
    try:
        from lstm_jax.train import distributed

        distributed.join()
    except Exception as error:  # of the runtime, of a cluster that JAX does not know
        raise EnvironmentProblem(
            f"the processes do not find each other ({one_line(error)}); `--processes N` starts N "
            "of them here; elsewhere JAX knows SLURM, Open MPI, TPU pods and Kubernetes, or reads "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        ) from error


def _options() -> dict[str, str]:
    """What is set for JAX where the user has set nothing, as variables of the environment."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lstm_jax" / "xla"
    return {
        "JAX_NUM_CPU_DEVICES": str(cores()),  # a host device for each core
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }


def _set_environment(platform: str) -> None:
    for name, value in _options().items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # also silences XLA's notes on its cache
    has_cuda = any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13))
    flags = os.environ.get("XLA_FLAGS", "")
    names_file = bool(flags) and not flags.startswith("-")  # XLA reads its flags from there
    if (platform == "gpu" or (platform == "auto" and has_cuda)) and not (
        names_file or "xla_gpu_deterministic_ops" in flags
    ):
        # Without it XLA may choose kernels that add in whatever order their threads arrive.
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(platform, platform)


def _set_options(platform: str) -> None:
    """The same in a process that has imported JAX, as far as JAX has not started yet."""
    import jax

    try:
        if jax.config.values["jax_num_cpu_devices"] == -1:  # nobody has set it
            jax.config.update("jax_num_cpu_devices", cores())
    except RuntimeError:  # JAX has started
        return
    if jax.config.values["jax_compilation_cache_dir"] is None:
        options = _options()
        jax.config.update("jax_compilation_cache_dir", options["JAX_COMPILATION_CACHE_DIR"])
        seconds = float(options["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    _set_environment(platform)  # what is read when the devices are asked for
    if platform != "auto":
        jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
