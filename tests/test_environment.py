"""Whatever changes the bits changes the identity. What cannot change them does not."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from lstm_jax.runs import devices, provenance

PROGRAM = Path(__file__).parent / "bits_by_setting.py"
# Variables of the environment, and options of JAX however they are set.
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
# Settings that cannot change a bit are tried all at once.
HARMLESS_VARIABLES = {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
    "PJRT_NPROC": "3",
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "0",  # the default
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


def start(group, **variables):
    bare = {k: v for k, v in os.environ.items() if not k.startswith(provenance.SETTINGS)}
    return subprocess.Popen(
        [sys.executable, PROGRAM, json.dumps(group)],
        env=bare | {"JAX_PLATFORMS": "cpu"} | variables,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def outcomes():
    """The bits and the identity under each group of settings."""
    variables = {n: ({n: VARIABLES[n]}, {}) for n in ("XLA_FLAGS", "ONEDNN_MAX_CPU_ISA")}
    seed = {"jax_random_seed_offset": ({}, {"jax_random_seed_offset": 1})}
    options = {"harmless options": ({}, HARMLESS_OPTIONS)}
    # Libraries read some variables when they are loaded, which is before any fork.
    separate = start({"harmless variables": ({}, {})}, **HARMLESS_VARIABLES)
    with start({"none": ({}, {})} | options | variables | seed) as forks, separate:
        return json.load(separate.stdout) | json.load(forks.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("group", ["harmless variables", "harmless options"])
def test_settings_that_change_no_bit_keep_the_identity(outcomes, group):
    assert outcomes[group] == outcomes["none"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "jax_random_seed_offset"])
def test_a_setting_that_changes_bits_changes_the_identity(outcomes, name):
    if name != "ONEDNN_MAX_CPU_ISA":  # has an effect on x86 only
        assert outcomes[name]["bits"] != outcomes["none"]["bits"]
    assert outcomes[name]["identity"] != outcomes["none"]["identity"]


@pytest.fixture
def plain(monkeypatch):
    for name in provenance._settings():
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_may_change_bits_changes_the_identity(plain, name):
    before = provenance.identity("data", "")
    plain.setenv(name, VARIABLES[name])
    now = provenance.identity("data", "")
    assert provenance.changed(before, now) == [f"settings.{name} was None, is {VARIABLES[name]!r}"]


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_may_change_bits_changes_the_identity(plain, name):
    before, usual = provenance.identity("data", ""), jax.config.values[name]
    jax.config.update(name, OPTIONS[name])
    try:
        now = provenance.identity("data", "")
    finally:
        jax.config.update(name, usual)
    assert provenance.changed(before, now) == [
        f"settings.{name} was None, is {str(OPTIONS[name])!r}"
    ]


def test_an_identity_contains_the_settings_and_names_their_changes(plain, tmp_path):
    before = provenance.identity("data", "")
    assert provenance.identity("data", "") == before
    assert json.loads(json.dumps(before)) == before
    plain.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    (tmp_path / "flags").write_text("--xla_a=1\n --xla_dump_to=x   --xla_b=2 ")
    now = provenance.identity("other", "", ["optax", "rich"])
    lines = provenance.changed(before, now)
    assert lines[:2] == [
        "data was 'data', is 'other'",
        "settings.XLA_FLAGS was None, is '--xla_a=1 --xla_b=2'",
    ]
    assert lines[2].startswith("versions.rich was None, is '")
    assert provenance.changed(now, now) == []
    assert provenance.digest(now) != provenance.digest(before)


def test_the_identity_names_the_processor_of_a_cpu():
    """Its model decides in which order a product adds; `device_kind` of JAX is just `cpu`."""
    identity = provenance.identity("data", "")
    assert "device_kind" not in identity
    assert "cpu" not in identity["processor"].lower().split()
    if Path("/proc/cpuinfo").exists() and platform.machine() == "x86_64":
        names = re.findall("(vendor|family|model) ", identity["processor"])
        assert names == ["vendor", "family", "model"]


def test_an_entry_that_was_added_or_removed_is_named():
    before, now = {"a": {"b": 1, "c": {"d": 1}}}, {"a": {"c": {"d": None}}, "e": {"f": 2}}
    assert provenance.changed(before, now) == [
        "a.b was 1, is None",
        "a.c.d was 1, is None",
        "e was None, is {'f': 2}",
    ]


def test_the_digest_of_an_identity_does_not_depend_on_the_order_of_its_entries():
    first, second = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert provenance.digest(first) == provenance.digest(second)
    assert len(provenance.digest(first)) == 12


def test_devices_wait_for_each_other_for_a_day_unless_the_user_says_otherwise(
    monkeypatch, tmp_path
):
    """By default XLA ends a process with a stack trace after 40 seconds, as of a closed lid."""
    name = "xla_cpu_collective_call_terminate_timeout_seconds"
    monkeypatch.setenv("XLA_FLAGS", f"--{name}=7 --xla_dump_to=x")
    devices._set_environment("cpu")
    flags = os.environ["XLA_FLAGS"].split()
    assert flags[:2] == [f"--{name}=7", "--xla_dump_to=x"]
    assert sorted(flags[2:]) == [f"--{n}=86400" for n in sorted(devices.TIMEOUTS) if n != name]
    monkeypatch.setenv("XLA_FLAGS", "")
    devices._set_environment("cpu")
    assert len(os.environ["XLA_FLAGS"].split()) == len(devices.TIMEOUTS)
    assert "XLA_FLAGS" not in provenance.identity("data", "")["settings"]
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))  # XLA reads them from this file
    devices._set_environment("cpu")
    assert os.environ["XLA_FLAGS"] == str(tmp_path / "flags")


def test_programs_that_others_can_exchange_are_not_run(tmp_path):
    lines, options = [], ("jax_compilation_cache_dir", "jax_enable_compilation_cache")
    before = {name: jax.config.values[name] for name in options}
    folder = tmp_path / "above" / "xla"
    try:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        devices.refuse_open_cache(lines.append)
        assert (lines, folder.stat().st_mode & 0o777) == ([], 0o700)
        for each, mode in ((folder, 0o777), (folder, 0o1777), (folder.parent, 0o777)):
            each.chmod(mode)
            devices.refuse_open_cache(lines.append)
            assert f"other users can write {each}" in lines.pop()
            assert not jax.config.values["jax_enable_compilation_cache"]
            jax.config.update("jax_enable_compilation_cache", True)
            each.chmod(0o755)
        folder.parent.chmod(0o1777)
        devices.refuse_open_cache(lines.append)
        assert lines == []
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
