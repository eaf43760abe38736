"""Settings of all tests: warnings are errors, and types and ranks are never promoted silently.

The tests run on four host devices, whatever the machine has, so that every placement is tried.
"""

import gc
import os
import sys
from pathlib import Path

import pytest

from lstm_jax.runs.devices import A_DAY, TIMEOUTS

os.environ["JAX_NUM_CPU_DEVICES"] = "4"
os.environ["JAX_PLATFORMS"] = "cpu"
# These compile in two thirds of the time. Where tests compare the bits of two programs they take
# `fused_jit`; `test_golden.py` compares with bits that were trained without both, and `make bits`
# compares members as a user's compiler makes them.
flags = os.environ.get("XLA_FLAGS", "")
timeouts = " ".join(f"--{name}={A_DAY}" for name in TIMEOUTS)  # as our commands set them
fast = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{flags} {fast} {timeouts}".strip()
# Many tests compile the same programs, here and in processes of their own.
cache = Path(__file__).parent.parent / ".pytest_cache" / "xla"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

# Tracing makes many objects that stay: collecting them again and again takes an eighth of the time.
gc.set_threshold(100_000, 50, 50)

# One worker runs a whole file. The longest files start first, so that no worker waits at the end:
# without `--no-loadscope-reorder` pytest-xdist would take those with the most tests first.
LONGEST = (
    *("test_sweep", "test_docs", "test_code", "test_modern_cells", "test_run", "test_export"),
    *("test_experiments", "test_blocks", "test_train", "test_linen", "test_scan", "test_shards"),
    *("test_memory_tasks", "test_report", "test_translation", "test_layers", "test_notebook"),
    *("test_matrix_memories", "test_custom_layers", "test_language", "test_benchmarks"),
    *("test_patience", "test_api", "test_evaluation", "test_activations", "test_budget"),
    *("test_tfds", "test_cudnn", "test_reproduce", "test_trust", "test_data_card"),
    *("test_run_processes", "test_score_elsewhere", "test_precision", "test_golden"),
)


def pytest_collection_modifyitems(items):
    rank = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(autouse=True, scope="session")
def quick_figures():
    """Leaves the PDF and PNG of figures out, which are a third of what a report costs."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("page", "compare"):
            patch.setattr(f"lstm_jax.report.{module}.write_pictures", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def figure_files(quick_figures):
    """Writes them, for the tests of one file: a PNG of few dots, a PDF with whole fonts."""
    from lstm_jax.report import drawing, element_files

    with pytest.MonkeyPatch.context() as patch:
        for module in ("page", "compare"):
            patch.setattr(f"lstm_jax.report.{module}.write_pictures", element_files.write_pictures)
        patch.setattr(drawing, "PNG_DPI", 50)
        patch.setitem(drawing.STYLE, "pdf.fonttype", 3)
        yield


@pytest.fixture(scope="module")
def fast_compile():
    """Compiles the programs of the package fast, for the tests of one file."""
    from fast_compile import fast_jit, programs_by

    with programs_by(fast_jit):
        yield


@pytest.fixture(scope="module")
def fused():
    """Compiles the programs of the package with fusion, for the tests of one file."""
    from fast_compile import fused_jit, programs_by

    with programs_by(fused_jit):
        yield


@pytest.fixture
def run_command(capsys):
    """Runs an experiment in this process, whose compiled programs the tests share.

    The function returns the exit code, the output and the lines of stderr.
    """
    from lstm_jax.cli.main import main

    def call(runs, *argv, name="digits"):
        try:
            main(["run", name, "--runs-dir", str(runs), *argv])
            code = 0
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return call


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory):
    """Returns the runs folder of a run that was never disturbed. Tests change copies of it."""
    from run_commands import SMALL

    from lstm_jax.cli.main import main

    runs = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, open(os.devnull, "w") as devnull:
        patch.setattr(sys, "stdout", devnull)
        main(["run", "digits", "--runs-dir", str(runs), *SMALL])
    return runs


@pytest.fixture(scope="session")
def digits():
    from lstm_jax.data.images import load_images

    return load_images("digits")


@pytest.fixture(scope="module")
def records():
    """Returns records by run directory, instead of those on disk."""
    from trained_runs import reading

    records = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lstm_jax.runs.trust.read_run", reading(records))
        yield records


@pytest.fixture(scope="module")
def trained_sweep(fast_compile, records, tmp_path_factory):
    """Returns the directory of a sweep of two learning rates and two seeds on `digits`."""
    from trained_runs import SWEEP, train

    directory = tmp_path_factory.mktemp("runs") / "digits" / SWEEP.digest
    records[directory] = train(directory, SWEEP)
    return directory


@pytest.fixture(scope="session")
def manual_files():
    """Returns the folder of the four original MNIST files; skips if TFDS_DATA_DIR lacks them."""
    folder = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folder = folder.absolute() / "downloads" / "manual"
    if len(list(folder.glob("*-ubyte.gz"))) < 4:
        pytest.skip("needs the four MNIST files in TFDS_DATA_DIR/downloads/manual")
    return folder
