"""The real MNIST is prepared by TensorFlow from its original files. Slow, so in `make faults`."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lstm_jax.data import images

LOAD = """
import sys
from lstm_jax.data import images
mnist = images.load_images("mnist", print)
print(mnist.fingerprint[:6], "tensorflow" in sys.modules)
"""
TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
FINGERPRINT = "582e054b25638a338610a19f0cf30422fe2f27bbcc98f6b8f3f68b110bae32ac"


def test_mnist_is_prepared_from_its_original_files(manual_files, tmp_path, monkeypatch):
    shutil.copytree(manual_files, tmp_path / "downloads" / "manual")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    output = "preparing mnist with TFDS (once)\ndecoding mnist\n582e05 False\n"
    assert done.stdout == output
    mnist = images.load_images("mnist", pytest.fail)
    sizes = [split["images"].shape for split in (mnist.train, mnist.validation, mnist.test)]
    assert sizes == [(55_000, 28, 28), (5_000, 28, 28), (10_000, 28, 28)]
    assert tuple(np.bincount(mnist.test["labels"])) == TEST_COUNTS
    assert mnist.fingerprint == FINGERPRINT
    assert sorted(os.listdir(tmp_path)) == ["downloads", "mnist"]
    assert sorted(os.listdir(tmp_path / "mnist")) == ["3.0.1", images.ARRAYS]
