"""Prepares JAX: the settings that it reads once, when it starts, and the check of its devices."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import lstm_jax
from lstm_jax.cells import reload_cells
from lstm_jax.config.shards import SECRET, launch_secret
from lstm_jax.data.dataset import Say, say_nothing
from lstm_jax.errors import EnvironmentProblem, UserError, one_line
from lstm_jax.runs.provenance import cores

# After these times XLA's CPU runtime warns of a device that waits for another one, and ends the
# process with a stack trace. By default that is 40 seconds: a suspended machine, a debugger or a
# crowded core reach them. A release of XLA that does not know a flag ends the process, too.
TIMEOUTS = (
    "xla_cpu_collective_call_warn_stuck_timeout_seconds",
    "xla_cpu_collective_call_terminate_timeout_seconds",
    "xla_cpu_collective_timeout_seconds",
)
HAVE_TIMEOUTS = "0.10."  # the releases of jaxlib that were tried
A_DAY = 86400


def prepare_jax(platform: str, say: Say = say_nothing, *, join: bool = False) -> None:
    """Makes the settings that JAX reads when it starts, and starts it. Keeps the user's settings.

    With `join`, connects this process to the others of its run. If JAX has already started in this
    process, takes its devices as they are and tells `say` what that costs. Raises
    EnvironmentProblem if the machine has no device of the platform, and UserError in a process that
    was forked after JAX had started.
    """
    refuse_after_fork()
    if "jax" not in sys.modules:
        _set_environment(platform)
    else:
        _set_options(platform)
    refuse_open_cache(say)
    if join:
        from lstm_jax.train import processes

        try:
            processes.join()
        except Exception as error:  # of JAX's runtime, or of a cluster that JAX does not know
            raise EnvironmentProblem(
                f"the processes do not find each other ({one_line(error)}); `--processes N` starts "
                "N of them here; elsewhere JAX knows SLURM, Open MPI, TPU pods and Kubernetes, or "
                "reads JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
            ) from error
    try:
        import jax

        devices = jax.devices()
    except Exception as error:  # JAX's own settings may be wrong in any way
        reason = str(error) or "no such device"
        raise EnvironmentProblem(
            f"JAX finds no device for platform {platform} ({reason[:200]}); check "
            "JAX_* settings, use --platform cpu, or `make experiment EXTRAS=cuda13` (cuda12, tpu)"
        ) from error
    if jax.config.values["jax_disable_jit"] or getattr(jax.config, "jax_disable_jit"):  # noqa: B009
        raise UserError(
            "jax.disable_jit is on: every step would run operation by operation, to other bits and "
            "for hours; leave it off, or unset JAX_DISABLE_JIT"
        )
    if join:
        processes.check_secret()
        if processes.is_main_process() and not launch_secret(os.environ):
            say(
                f"note: {SECRET} is not set: any program that reaches the address of this launch "
                "can take part in it; give all its processes the same random word"
            )
    reload_cells()
    started_on = devices[0].platform
    if platform not in ("auto", started_on):
        raise EnvironmentProblem(
            f"JAX runs on {started_on} in this process already, not on {platform}"
        )
    has_few_devices = len(devices) == 1 < cores() and "JAX_NUM_CPU_DEVICES" not in os.environ
    if started_on == "cpu" and has_few_devices:
        say(
            f"note: JAX was started with one CPU device for {cores()} cores: the bits are the "
            f"same, training may take up to {cores()} times as long; call lstm_jax.run before any "
            f"other use of JAX, or set JAX_NUM_CPU_DEVICES={cores()}"
        )
    if started_on == "gpu" and "xla_gpu_deterministic_ops" not in os.environ.get("XLA_FLAGS", ""):
        say(
            "note: JAX was started without --xla_gpu_deterministic_ops=true in XLA_FLAGS: the bits "
            "may differ from one run to the next"
        )


def refuse_after_fork() -> None:
    """Raises UserError in a process that was forked after JAX had started: it would wait for ever
    for threads that a fork does not copy.
    """
    if lstm_jax.jax_had_started:
        raise UserError(
            "this process was forked after JAX had started, and JAX would hang in it: make the "
            'processes with multiprocessing.get_context("spawn"), as in '
            'get_context("spawn").Pool(2), or before the first use of JAX'
        )


def refuse_open_cache(say: Say) -> None:
    """Switches the cache of compiled programs off, and tells `say`, where others can write it.

    JAX runs what lies there as machine code, and an identity does not notice an exchanged entry.
    """
    import jax

    cache = jax.config.values["jax_compilation_cache_dir"]
    if not cache or "://" in cache or not jax.config.values["jax_enable_compilation_cache"]:
        return
    folder = Path(cache).absolute()
    with suppress(OSError):  # JAX says what is wrong with it
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if others := _written_by_others(folder):
        jax.config.update("jax_enable_compilation_cache", False)
        say(
            f"note: other users can write {others}, so no compiled programs are kept in {folder}, "
            f"nor run from there; `chmod go-w {others}`, or set JAX_COMPILATION_CACHE_DIR"
        )


def _written_by_others(folder: Path) -> Path | None:
    """Returns a folder, or the one above it, in which any user may exchange what lies in it."""
    for each in (folder, *folder.parents):
        with suppress(OSError):
            status = each.stat()
            is_open = bool(status.st_mode & stat.S_IWOTH)
            if each != folder:  # in a folder such as /tmp each user moves his own files alone
                is_open = is_open and not status.st_mode & stat.S_ISVTX
            if is_open or (each == folder and status.st_uid not in (os.geteuid(), 0)):
                return each
    return None


def _default_variables() -> dict[str, str]:
    """Returns the environment variables that are set for JAX unless the user has set them.

    A user without a home directory gets no compilation cache.
    """
    variables = {
        "JAX_NUM_CPU_DEVICES": str(cores()),  # a host device for each core
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    with suppress(RuntimeError):  # neither HOME nor an entry in /etc/passwd
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        variables["JAX_COMPILATION_CACHE_DIR"] = str(cache / "lstm_jax" / "xla")
    return variables


def _set_environment(platform: str) -> None:
    """Sets the variables of the environment that JAX reads when it is imported or starts."""
    for name, value in _default_variables().items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # also silences XLA's notes on its cache
    has_cuda = any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13))
    wanted = {}
    if platform == "gpu" or (platform == "auto" and has_cuda):
        # Without it XLA may choose kernels that add in whatever order their threads arrive.
        wanted["xla_gpu_deterministic_ops"] = "true"
    if metadata.version("jaxlib").startswith(HAVE_TIMEOUTS):
        wanted |= dict.fromkeys(TIMEOUTS, str(A_DAY))
    flags = os.environ.get("XLA_FLAGS", "")
    names_file = bool(flags) and not flags.startswith("-")  # XLA reads its flags from that file
    if not names_file:
        added = [f"--{name}={value}" for name, value in wanted.items() if name not in flags]
        os.environ["XLA_FLAGS"] = " ".join([flags, *added]).strip()
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(platform, platform)


def _set_options(platform: str) -> None:
    """Makes the same settings where JAX is imported, as far as it has not started yet."""
    import jax

    try:
        if jax.config.values["jax_num_cpu_devices"] == -1:  # nobody has set it
            jax.config.update("jax_num_cpu_devices", cores())
    except RuntimeError:  # JAX has started
        return
    defaults = _default_variables()
    has_cache = "JAX_COMPILATION_CACHE_DIR" in defaults
    if has_cache and jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", defaults["JAX_COMPILATION_CACHE_DIR"])
        seconds = float(defaults["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    _set_environment(platform)  # JAX reads some of it only when its devices are asked for
    if platform != "auto":
        jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
