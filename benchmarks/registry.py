"""The peers: where their code is, what they need, how many cores and processes they have."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.task import MODELS


@dataclass(frozen=True)
class Peer:
    """A peer in its own process, or in several side by side."""

    name: str
    function: str  # module:function, from a Task to the peer's settings
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    one_core: bool = False
    one_process_per_core: bool = False
    has_loss: bool = True
    gpu_only: bool = False
    cpu_only: bool = False
    gpu_env: Mapping[str, str] = field(default_factory=dict)  # beside env, on a GPU

    def absent(self, platform: str) -> str:
        """Returns why the peer cannot be measured on "cpu" or "gpu"; an empty string if it can."""
        if self.gpu_only and platform != "gpu":
            return "needs a GPU"
        if (self.cpu_only or self.one_core) and platform == "gpu":
            return "is measured on CPU only"
        missing = (name for name in self.needs if importlib.util.find_spec(name) is None)
        return next((f"not installed: {name}" for name in missing), "")


OURS, CEILING = "ours", "ceiling"
BITS_FREE = "ours, bits free"  # the recurrence in a plain step, without the promise of bits
OURS_CUDNN = "ours, cudnn"  # the same training with the backend cudnn
ONE_CORE = {OURS: "ours, one core", CEILING: "ceiling, one core"}

_DETERMINISTIC = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"}  # as our command line sets it

_OURS = (
    Peer(OURS, "benchmarks.ours:ours", gpu_env=_DETERMINISTIC),
    Peer(ONE_CORE[OURS], "benchmarks.ours:ours", one_core=True),
)

PEERS = (
    *_OURS,
    Peer(OURS_CUDNN, "benchmarks.ours:by_cudnn", gpu_only=True, gpu_env=_DETERMINISTIC),
    Peer(BITS_FREE, "benchmarks.ours:plain"),
    Peer(CEILING, "benchmarks.ours:ceiling", has_loss=False),
    Peer(ONE_CORE[CEILING], "benchmarks.ours:ceiling", one_core=True, has_loss=False),
    Peer("torch", "benchmarks.torch_peers:eager", ("torch",)),
    Peer("torch_compile", "benchmarks.torch_peers:compiled", ("torch",)),
    Peer(
        "tf1_notebook",
        "benchmarks.tf_peers:notebook",
        ("tensorflow", "tf_keras"),
        {"TF_USE_LEGACY_KERAS": "1"},
        cpu_only=True,  # as the one below: what is installed is tensorflow-cpu
    ),
    Peer("keras_tf", "benchmarks.tf_peers:keras", ("keras", "tensorflow"),
         {"KERAS_BACKEND": "tensorflow"}, cpu_only=True),
    Peer("keras_jax", "benchmarks.tf_peers:keras", ("keras",), {"KERAS_BACKEND": "jax"}),
    Peer("flax_linen", "benchmarks.jax_peers:linen", ("flax",)),
    Peer("flax_nnx", "benchmarks.jax_peers:nnx", ("flax",)),
    Peer("jax_cudnn", "benchmarks.jax_peers:cudnn", gpu_only=True),
    Peer("haiku", "benchmarks.jax_peers:haiku", ("haiku",)),
    Peer("equinox", "benchmarks.jax_peers:equinox", ("equinox",)),
)  # fmt: skip

SWEEP_PEERS = (
    *_OURS,
    Peer(
        "torch",
        "benchmarks.torch_peers:single_thread",
        ("torch",),
        {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        one_process_per_core=True,
    ),
)


# The peers that have every model of `task.MODELS`. Our outside cell is compared with a plain scan.
_HAVE_ALL = (OURS, BITS_FREE, "torch", "flax_linen")
MODEL_PEERS = tuple(peer for peer in PEERS if peer.name in _HAVE_ALL)
OUTSIDE_PEERS = (*MODEL_PEERS[:2], Peer("plain_scan", "benchmarks.ugrnn:plain_scan"))


def peers_of(mode: str) -> tuple[Peer, ...]:
    if mode == "ugrnn":
        return OUTSIDE_PEERS
    if mode in MODELS:
        return MODEL_PEERS
    return SWEEP_PEERS if mode == "sweep" else PEERS
