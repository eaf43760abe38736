"""Whatever a user or a file hands in: a correct answer or one clear line, never a traceback."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lstm_jax import Experiment
from lstm_jax.cli import check_options, parse
from lstm_jax.commands import COMMANDS
from lstm_jax.errors import SurroundingsError, UserError
from lstm_jax.experiment import KINDS
from lstm_jax.runs import store
from lstm_jax.runs.record import RESULT, kept_experiment, read_record
from lstm_jax.use.pictures import read_picture

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
folder = pytest.fixture(lambda tmp_path_factory: tmp_path_factory.mktemp("fuzz"))
many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def one_line(error):
    assert str(error)
    assert "\n" not in str(error)


@many
@given(st.dictionaries(st.sampled_from(sorted(KINDS)) | st.text(max_size=9), json_values))
def test_an_experiment_of_any_values_is_one_or_is_refused(values):
    try:
        experiment = Experiment.from_json(json.dumps(values))
    except UserError as error:
        one_line(error)
    else:
        assert Experiment.from_json(experiment.to_json()) == experiment


@many
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda b: b.decode("latin-1")))
def test_an_experiment_of_any_text_is_refused(text):
    with contextlib.suppress(ValueError):
        json.loads(text)  # a text that is JSON is no object here, but for an empty one
        return
    with pytest.raises(UserError) as caught:
        Experiment.from_json(text)
    one_line(caught.value)


rows = st.fixed_dictionaries(dict.fromkeys(RESULT, json_values))
records = st.fixed_dictionaries(
    {
        "members": st.dictionaries(st.text(max_size=9), rows, max_size=2) | json_values,
        "sessions": st.just([]) | json_values,
        "experiment": st.just({}) | json_values,
    },
    optional={"rungs": st.dictionaries(st.text(max_size=9), json_values), "name": json_values},
)


@many
@given(record=records | json_values)
def test_a_record_of_any_values_is_whole_or_damaged(folder, record):
    sealed = store.sealed(record) if isinstance(record, dict) else record
    (folder / "record.json").write_text(json.dumps(sealed))
    try:
        found = read_record(folder)
        if found is not None:
            kept_experiment(folder, found)
    except SurroundingsError as error:
        one_line(error)


@many
@given(lines=st.lists(json_values.map(json.dumps).map(str.encode) | st.binary(max_size=30)))
def test_metrics_of_any_bytes_are_read_row_by_row(folder, lines):
    whole = {"member": "a", "step": 3, "loss": 0.5, "accuracy": None}
    lines = [json.dumps(whole).encode(), *lines]
    (folder / "metrics.jsonl").write_bytes(b"\n".join(lines))
    found = store.read_metrics(folder)
    assert found[0] == whole
    for row in found:
        assert isinstance(row["member"], str)
        assert isinstance(row["step"], int)


def as_file(values, kind):
    """Grey values as the bytes of a picture."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


grey = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda shape: st.binary(min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda data: np.frombuffer(data, np.uint8).reshape(shape)
    )
)
whole = st.builds(as_file, grey, st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "TIFF"]))


def changed(file, place, byte, length):
    """With a byte changed, and cut."""
    at = place % len(file)
    return (file[:at] + bytes([byte]) + file[at + 1 :])[: max(at, length % (2 * len(file)))]


damaged = st.builds(
    changed, whole, st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 10**6)
)


@many
@given(data=whole | damaged | st.binary(max_size=200), side=st.sampled_from([8, 28]))
def test_a_picture_of_any_bytes_is_an_image_or_one_line(folder, data, side):
    path = folder / "picture"
    path.write_bytes(data)
    try:
        image = read_picture(str(path), (side, side))
    except UserError as error:
        one_line(error)
    else:
        assert (image.shape, image.dtype) == ((side, side), np.uint8)
        assert image.max() == 255  # its darkest ink is white, whatever it was


words = st.sampled_from(["run", "plan", "predict", "digits", "baseline", "1", "1e-3", "-1", "x"])
flags = st.sampled_from([f"--{name.replace('_', '-')}" for name in KINDS])
others = st.sampled_from(["--platform", "cpu", "--steps", "--member", "--max-minutes", "--measure"])


@many
@given(st.lists(words | flags | others | st.text(max_size=6), max_size=6))
def test_any_command_line_is_a_command_or_one_line(argv):
    try:
        command = parse(argv)
        check_options(command)
        assert isinstance(command, tuple(COMMANDS.values()))
    except UserError as error:
        one_line(error)
    except SystemExit as left:
        if left.code:  # no help was asked for
            raise
