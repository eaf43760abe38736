"""Whatever a user or a file hands in: a correct answer or one clear line, never a traceback."""

import io
import json

import numpy as np
import pytest
from fuzzing import json_values, many
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lstm_jax.cli.commands import COMMANDS
from lstm_jax.cli.parse import parse
from lstm_jax.config.experiment import Experiment
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.fields import field_specs
from lstm_jax.predict.pictures import read_picture
from lstm_jax.runs import json_files, results
from lstm_jax.runs.record import read_record

folder = pytest.fixture(lambda tmp_path_factory: tmp_path_factory.mktemp("fuzz"))


def one_line(error):
    assert str(error)
    assert "\n" not in str(error)


paths = st.sampled_from(["task", *Experiment().values, "hiden_size"]) | st.text(max_size=9)
# What a field may hold: also numbers beyond all floats, and several values.
likely = st.sampled_from([None, 1, 8, 0.5, -1, 10**400, 1e400, "lstm", "adam", "images"])
values_of = json_values | likely | st.lists(likely, max_size=3)
names = st.sampled_from(sorted(field_specs(Search))) | st.text(max_size=9)


def in_json(values):
    return json.loads(json.dumps(values))


@many
@given(st.dictionaries(paths, values_of) | json_values)
def test_an_experiment_of_any_values_is_one_or_is_refused(values):
    try:
        experiment = Experiment.from_values(in_json(values))
    except UserError as error:
        one_line(error)
    else:
        again = Experiment.from_values(in_json(experiment.to_values()))
        assert (again, again.digest) == (experiment, experiment.digest)
        assert next(experiment.members()).static_key == next(again.members()).static_key


@many
@given(
    st.fixed_dictionaries(
        {
            "experiment": st.dictionaries(paths, values_of, max_size=3),
            "search": st.dictionaries(names, values_of | st.sampled_from(["random", "tpe"])),
        }
    )
    | json_values
)
def test_a_study_of_any_values_is_one_or_is_refused(values):
    try:
        study = Study.from_values(in_json(values))
    except UserError as error:
        one_line(error)
    else:
        again = Study.from_values(in_json(study.to_values()))
        assert (again, again.digest) == (study, study.digest)
        assert study.num_settings <= study.num_members


def as_file(values, form):
    """Returns grey values as the bytes of a picture file of this format."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


grey = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda shape: st.binary(min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda data: np.frombuffer(data, np.uint8).reshape(shape)
    )
)
whole = st.builds(as_file, grey, st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "TIFF"]))


def changed(file, offset, byte, length):
    """Returns the file with a byte changed, and cut."""
    i = offset % len(file)
    return (file[:i] + bytes([byte]) + file[i + 1 :])[: max(i, length % (2 * len(file)))]


damaged = st.builds(
    changed, whole, st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 10**6)
)


@many
@given(data=whole | damaged | st.binary(max_size=200), side=st.sampled_from([8, 28]))
def test_a_picture_of_any_bytes_is_an_image_or_one_line(folder, data, side):
    path = folder / "picture"
    path.write_bytes(data)
    try:
        image = read_picture(str(path), (side, side)).image
    except UserError as error:
        one_line(error)
    else:
        assert (image.shape, image.dtype) == ((side, side), np.uint8)
        assert image.max() == 255  # its darkest ink is white, whatever it was


def plain(shape):
    """Values of about the shape of `runs/json_files.py`, now and then of another."""
    if isinstance(shape, dict):
        entries = {k.removesuffix("?"): plain(v) for k, v in shape.items() if isinstance(k, str)}
        return st.fixed_dictionaries(entries) | json_values
    return json_values


digests = st.sampled_from(["0" * 12, Experiment().digest]) | st.text(max_size=9)
rows = st.dictionaries(digests, plain(results.SCHEMA), max_size=2)
records = st.fixed_dictionaries(
    {
        "name": st.just("digits") | json_values,
        "experiment": st.just(Experiment().to_values()) | json_values,
        "search": st.just(Study().to_values()["search"]) | json_values,
        "metadata": st.just({}) | json_values,
        "identities": st.just({}) | json_values,
        "sessions": st.just([]) | json_values,
        "members": rows | json_values,
        "rungs": st.dictionaries(st.text(max_size=9), rows) | json_values,
    }
)


@many
@given(record=records | json_values)
def test_a_record_of_any_values_is_whole_or_damaged(folder, record):
    value = json_files.with_checksum(record) if isinstance(record, dict) else record
    (folder / "record.json").write_text(json.dumps(value))
    try:
        again = read_record(folder)
    except EnvironmentProblem as error:
        one_line(error)
    else:
        assert again.study.experiment == Experiment()
        again.write(folder)
        assert read_record(folder) == again


some_words = st.sampled_from(["run", "plan", "predict", "digits", "baseline", "1", "1e-3", "-1"])
flags = st.sampled_from([f"--{path.replace('_', '-')}" for path in Experiment().values])
others = st.sampled_from(["--platform", "cpu", "--steps", "--member", "--max-minutes", "--measure"])


@many
@given(st.lists(some_words | flags | others | st.text(max_size=6), max_size=6))
def test_any_command_line_is_a_command_or_one_line(argv):
    try:
        command = parse(argv)
        command.check()
        assert isinstance(command, tuple(COMMANDS.values()))
    except UserError as error:
        one_line(error)
    except SystemExit as left:
        if left.code:  # no help was asked for
            raise
