"""The identity: whatever moves the bits makes another one, and what cannot move them does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from lstm_jax.runs import provenance

PROGRAM = Path(__file__).parent / "bits_by_setting.py"
# Variables, and options of JAX however they were set.
VARIABLES = {
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NVIDIA_TF32_OVERRIDE": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":16:8",
    "CUDNN_SOMETHING_NEW": "1",
    "JAX_SOMETHING_NEW": "1",
}
OPTIONS = {
    "jax_enable_x64": True,
    "jax_default_matmul_precision": "bfloat16",
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 1,
    "jax_disable_jit": True,
    "jax_disable_most_optimizations": True,
}
# What cannot move a bit is tried all at once.
HARMLESS_VARIABLES = {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
    "PJRT_NPROC": "3",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "0",  # as it usually is
    "JAX_LOGGING_LEVEL": "ERROR",
    "TF_CLI_CONFIG_FILE": "/etc/terraform",
    "JAXB_HOME": "/opt",
}
HARMLESS_OPTIONS = {
    "jax_num_cpu_devices": 2,
    "jax_debug_nans": True,
    "jax_enable_checks": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_cpu_enable_async_dispatch": False,
}


def start(knobs, **variables):
    bare = {k: v for k, v in os.environ.items() if not k.startswith(provenance.SETTINGS)}
    return subprocess.Popen(
        [sys.executable, PROGRAM, json.dumps(knobs)],
        env=bare | {"JAX_PLATFORMS": "cpu"} | variables,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def found():
    """The bits and the identity under each knob."""
    some = {name: ({name: VARIABLES[name]}, {}) for name in ("XLA_FLAGS", "ONEDNN_MAX_CPU_ISA")}
    seed = {"jax_random_seed_offset": ({}, {"jax_random_seed_offset": 1})}
    options = {"harmless options": ({}, HARMLESS_OPTIONS)}
    # Some variables are read when a library is loaded: before any fork.
    fresh = start({"harmless variables": ({}, {})}, **HARMLESS_VARIABLES)
    with start({"none": ({}, {})} | options | some | seed) as forks, fresh:
        return json.load(fresh.stdout) | json.load(forks.stdout)


@pytest.mark.parametrize("knobs", ["harmless variables", "harmless options"])
def test_what_moves_no_bit_makes_no_other_identity(found, knobs):
    assert found[knobs] == found["none"]


@pytest.mark.parametrize("knob", ["XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "jax_random_seed_offset"])
def test_what_moves_bits_makes_another_identity(found, knob):
    if knob != "ONEDNN_MAX_CPU_ISA":  # obeyed on x86 only
        assert found[knob]["bits"] != found["none"]["bits"]
    assert found[knob]["identity"] != found["none"]["identity"]


@pytest.fixture
def plain(monkeypatch):
    for name in provenance._settings():
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_may_move_bits_makes_another_identity(plain, name):
    before = provenance.identity("data")
    plain.setenv(name, VARIABLES[name])
    now = provenance.identity("data")
    assert provenance.changed(before, now) == [f"settings.{name} was None, is {VARIABLES[name]!r}"]


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_may_move_bits_makes_another_identity(plain, name):
    before, usual = provenance.identity("data"), jax.config.values[name]
    jax.config.update(name, OPTIONS[name])
    try:
        now = provenance.identity("data")
    finally:
        jax.config.update(name, usual)
    assert provenance.changed(before, now) == [
        f"settings.{name} was None, is {str(OPTIONS[name])!r}"
    ]


def test_an_identity_says_what_was_set_and_how_it_changed(plain, tmp_path):
    before = provenance.identity("data")
    assert provenance.identity("data") == before
    assert json.loads(json.dumps(before)) == before
    plain.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    (tmp_path / "flags").write_text("--xla_a=1\n --xla_dump_to=x   --xla_b=2 ")
    now = provenance.identity("other", ["optax", "rich"])
    lines = provenance.changed(before, now)
    assert lines[:2] == [
        "data was 'data', is 'other'",
        "settings.XLA_FLAGS was None, is '--xla_a=1 --xla_b=2'",
    ]
    assert lines[2].startswith("versions.rich was None, is '")
    assert provenance.changed(now, now) == []
    assert provenance.digest(now) != provenance.digest(before)


def test_an_entry_that_came_or_went_is_named():
    before, now = {"a": {"b": 1, "c": {"d": 1}}}, {"a": {"c": {"d": None}}, "e": {"f": 2}}
    assert provenance.changed(before, now) == [
        "a.b was 1, is None",
        "a.c.d was 1, is None",
        "e was None, is {'f': 2}",
    ]


def test_an_identity_is_named_by_what_it_holds():
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert provenance.digest(one) == provenance.digest(other)
    assert len(provenance.digest(one)) == 12
