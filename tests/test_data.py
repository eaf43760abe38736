"""Data as arrays: the same bits every time, lengths that agree, damage that is found."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.config.experiment import Experiment
from lstm_jax.data import images as data
from lstm_jax.data.dataset import make_dataset, num_examples
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.tasks.images import Images, to_sequences
from lstm_jax.train.batches import epoch_order, streams
from lstm_jax.train.step import evaluate, init_state

# The order of the batches.


@pytest.mark.parametrize("num_examples", [1, 2, 1318, 55_000])
def test_an_epoch_visits_every_example_once(num_examples):
    order = epoch_order(jax.random.key(0), 3, num_examples)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))


def test_the_order_is_a_pure_function_of_key_and_epoch():
    key, other_key = jax.random.split(jax.random.key(7))
    order = np.asarray(epoch_order(key, 0, 1000))
    jitted = jax.jit(epoch_order, static_argnums=2)
    np.testing.assert_array_equal(order, epoch_order(key, 0, 1000))
    np.testing.assert_array_equal(order, jitted(key, 0, 1000))
    for other in (epoch_order(key, 1, 1000), epoch_order(other_key, 0, 1000)):
        assert np.sum(order == np.asarray(other)) < 20  # by chance: one place in a thousand agrees


def test_the_order_is_the_same_for_all_members_of_a_seed_and_of_no_other():
    """Whatever else they differ in: the key is of the seed alone."""
    orders = [
        np.asarray(epoch_order(streams(np.uint32(seed))["order"], 0, 500)) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


# Digits.


def test_digits_are_split_in_order_and_never_change():
    digits = data.load_images("digits")
    assert digits.name == "digits"
    assert digits.metadata == {"num_classes": 10, "shapes": {"images": [8, 8], "labels": []}}
    sizes = [split["images"].shape for split in (digits.train, digits.validation, digits.test)]
    assert sizes == [(1318, 8, 8), (119, 8, 8), (360, 8, 8)]
    assert digits.train["images"].min() == 0
    assert digits.train["images"].max() == 255
    for split in (digits.train, digits.validation, digits.test):
        assert split["images"].dtype == np.uint8
        assert split["labels"].dtype == np.int32
        assert split["labels"].shape == split["images"].shape[:1]
        assert set(split["labels"]) == set(range(10))
    assert digits.fingerprint == data.load_images("digits").fingerprint
    # Change it only when the preparation of `digits` changes on purpose: recorded runs name it.
    assert digits.fingerprint == "40bafce680d6cd84887ca7a86b6f30ac3fce7dea185dbe1d0da7e32628df2be1"


def small_splits():
    rng = np.random.default_rng(0)
    return [
        {"x": rng.normal(size=(n, 2)).astype(np.float32), "y": np.arange(n, dtype=np.int32)}
        for n in (4, 2, 3)
    ]


def test_the_fingerprint_notices_every_byte_of_every_array():
    splits = small_splits()
    whole = make_dataset("a", *splits, classes=3).fingerprint
    assert make_dataset("another name", *splits, classes=3).fingerprint == whole
    for split in splits:
        for array in split.values():
            flat = array.view(np.uint8).reshape(-1)
            for position in range(len(flat)):
                flat[position] ^= 1
                assert make_dataset("a", *splits, classes=3).fingerprint != whole
                flat[position] ^= 1
    assert make_dataset("a", *splits, classes=3).fingerprint == whole


def test_a_callback_cannot_change_what_the_fingerprint_names():
    splits = small_splits()
    made = make_dataset("a", *splits)
    with pytest.raises(ValueError, match="read-only"):
        made.test["x"][...] = 0
    splits[0]["x"][...] = 0  # the arrays of the user stay as they are


def test_the_fingerprint_notices_names_shapes_types_and_metadata():
    def changed(change):
        splits, metadata = small_splits(), {"classes": 3}
        change(splits, metadata)
        return make_dataset("a", *splits, **metadata).fingerprint

    changes = [
        lambda splits, metadata: None,
        lambda splits, metadata: splits[0].update(z=splits[0].pop("y")),
        lambda splits, metadata: splits[0].update(x=splits[0]["x"].reshape(4, 2, 1)),
        lambda splits, metadata: splits[0].update(y=splits[0]["y"].view(np.uint32)),
        lambda splits, metadata: metadata.update(classes=4),
        lambda splits, metadata: metadata.update(more=1),
        lambda splits, metadata: splits.reverse(),
    ]
    assert len({changed(change) for change in changes}) == len(changes)


def test_the_fingerprint_does_not_depend_on_the_memory_layout():
    splits = small_splits()
    turned = [{k: np.asfortranarray(a) for k, a in split.items()} for split in splits]
    assert make_dataset("a", *turned).fingerprint == make_dataset("a", *splits).fingerprint


def weighted_splits(sizes=(8, 4, 4), **arrays):
    """Splits as `Images` reads them, with an array whose name sorts before the others."""
    rng = np.random.RandomState(0)
    return [
        {
            "images": rng.randint(0, 256, (n, 4, 4)).astype(np.uint8),
            "labels": rng.randint(0, 3, n).astype(np.int32),
            "class_weight": np.arange(3, dtype=np.float32),
            **arrays,
        }
        for n in sizes
    ]


def test_arrays_of_different_lengths_are_named_with_their_lengths():
    splits = weighted_splits()
    says = r"train differ in length \(images 8, labels 8, class_weight 3\).*=\['class_weight'\]\)"
    with pytest.raises(UserError, match=says) as error:
        make_dataset("own", *splits, num_classes=3)
    assert "\n" not in str(error.value)
    splits[2]["labels"] = splits[2]["labels"][:2]
    with pytest.raises(UserError, match=r"test differ in length \(images 4, labels 2\)"):
        make_dataset("own", *splits, shared=["class_weight"], num_classes=3)


@pytest.mark.parametrize(
    ("arrays", "shared", "says"),
    [
        ({}, ["class_weights"], "shared names class_weights, and train has no such array"),
        ({}, ["class_weight", "images", "labels"], "shared names all arrays of train"),
        ({}, "class_weight", r"shared is a list of names, \['class_weight'\]"),
        ({"scale": np.float32(2)}, ["class_weight"], "the array scale of train is a single number"),
    ],
)
def test_a_wrong_list_of_shared_arrays_is_refused(arrays, shared, says):
    with pytest.raises(UserError, match=f"own: .*{says}"):
        make_dataset("own", *weighted_splits(**arrays), shared=shared, num_classes=3)


def test_a_shared_array_counts_no_examples_on_the_host_or_in_a_compiled_program():
    splits = weighted_splits()
    dataset = make_dataset("own", *splits, shared=["class_weight"], num_classes=3)
    bare = [{n: a for n, a in split.items() if n != "class_weight"} for split in splits]
    without = make_dataset("own", *bare, num_classes=3)
    assert dataset.num_examples == without.num_examples == 8
    assert repr(dataset).startswith("Dataset(own: 8, 4, 4 examples")

    def gathered(examples):
        index = jnp.arange(num_examples(examples), dtype=jnp.int32)[::-1]
        return Images().gather(examples, index), examples["class_weight"].sum()

    batch, total = jax.jit(gathered)(dataset.train)
    assert set(batch) == {"images", "labels"}
    np.testing.assert_array_equal(batch["labels"], splits[0]["labels"][::-1])
    assert total == 3
    # The arrays of examples give the same results beside a shared array as alone.
    member = Experiment(task=Images(dataset="digits"), hidden_size=4, batch_size=8)
    found = []
    for made in (dataset, without):
        spec = member.task.model_spec(made.metadata)
        score = jax.jit(evaluate, static_argnums=0)
        found.append(score(spec, member, init_state(spec, member).params, made.test))
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert found[0].weight == 4


def test_the_fingerprint_says_which_arrays_are_shared():
    """Where the shape does not: a shared array that happens to be as long as the examples."""
    splits = weighted_splits(sizes=(3, 3, 3))
    plain = make_dataset("own", *splits, num_classes=3)
    shared = make_dataset("own", *splits, shared=["class_weight"], num_classes=3)
    assert plain.fingerprint != shared.fingerprint


def test_the_first_twelfth_of_training_is_held_out_and_nothing_is_lost():
    digits = data.load_images("digits")
    both = zip(digits.validation.values(), digits.train.values(), strict=True)
    train = dict(zip(digits.train, map(np.concatenate, both), strict=True))
    assert data._dataset("digits", train, digits.test, 10).fingerprint == digits.fingerprint


# How images are read.


@pytest.mark.parametrize("reading", ["rows", "columns", "pixels", "permuted"])
def test_a_reading_is_an_order_of_the_same_numbers(reading):
    pixels = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    read = to_sequences(pixels, reading)
    shape = {"rows": (2, 3, 4), "columns": (2, 4, 3)}.get(reading, (2, 12, 1))
    assert read.shape == shape
    for image, again in zip(pixels, read, strict=True):
        assert set(again.ravel()) == set(image.ravel())
    metadata = {"shapes": {"images": [3, 4]}, "num_classes": 7}
    spec = Images(reading=reading).model_spec(metadata)
    assert (spec.num_features, spec.num_outputs, spec.per_step_outputs) == (shape[2], 7, False)
    if reading in ("rows", "columns", "pixels"):
        turned = pixels.swapaxes(1, 2) if reading == "columns" else pixels
        np.testing.assert_array_equal(read, turned.reshape(shape))
    else:  # once for all: the same for every image, and on every machine
        order = read[0].ravel() - pixels[0].min()
        np.testing.assert_array_equal(read[1].ravel() - pixels[1].min(), order)
        np.testing.assert_array_equal(order, np.random.RandomState(0).permutation(12))


@pytest.mark.parametrize("channels", [1, 3])
def test_pooled_pixels_are_the_means_of_squares(channels):
    """A model of 14 x 14 means reads what it would read of images of that size."""
    pixels = np.random.RandomState(0).randint(0, 256, (5, 6, 6, channels), np.uint8)
    means = np.stack(
        [
            pixels[:, y : y + 2, x : x + 2].astype(np.float64).mean((1, 2))
            for y in (0, 2, 4)
            for x in (0, 2, 4)
        ],
        axis=1,
    ).reshape(5, 3, 3 * channels)
    images = pixels.reshape(5, 6, -1)
    for reading in ("rows", "columns", "permuted"):
        task = Images(reading=reading, pool=2)
        np.testing.assert_array_equal(task.sequences(images), to_sequences(means, reading))
        metadata = {"shapes": {"images": list(images.shape[1:])}, "num_classes": 7}
        spec, shape = task.model_spec(metadata), task.sequences(images).shape
        assert (task.num_time_steps(metadata), spec.num_features) == shape[1:]
    with pytest.raises(UserError, match="whose side is a multiple of 4; mnist has 6 x"):
        Images(pool=4).model_spec(metadata)


def test_the_trivial_score_is_the_share_of_the_commonest_class():
    labels = [np.int32(values) for values in ([0, 1, 1], [0], [1, 1, 0, 2])]
    made = make_dataset("few", *({"labels": some} for some in labels))
    assert Images().trivial_score(made) == 0.5


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (np.zeros((24, 8, 8), np.float32), np.zeros(24, np.int32), "images are float32"),
        (np.zeros((24, 64), np.uint8), np.zeros(24, np.int32), "images are uint8"),
        (np.zeros((24, 8, 0), np.uint8), np.zeros(24, np.int32), "no images"),
        (np.zeros((24, 8, 8), np.uint8), np.zeros(23, np.int32), "labels are int32"),
        (np.zeros((24, 8, 8), np.uint8), np.full(24, 10, np.int32), "labels from 10 to 10"),
        (np.zeros((24, 8, 8), np.uint8), np.full(24, -1, np.int32), "labels from -1 to -1"),
        (np.zeros((11, 8, 8), np.uint8), np.zeros(11, np.int32), "no images in its validation"),
    ],
)
def test_wrong_arrays_are_named(images, labels, problem):
    good = data.load_images("digits").test
    with pytest.raises(EnvironmentProblem, match=f"^odd: .*{problem}"):
        data._dataset("odd", {"images": images, "labels": labels}, good, 10)


# The kept arrays.


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Arrays kept under the name `made_up`, which only they can provide."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    path = tmp_path / "made_up" / data.ARRAYS
    path.parent.mkdir()
    data._write_arrays(path, data.load_images("digits")._replace(name="made_up"))
    return path


def test_decoded_arrays_are_read_back_bit_for_bit(kept):
    digits, back = data.load_images("digits"), data.load_images("made_up", pytest.fail)
    assert back.fingerprint == digits.fingerprint
    assert back.name == "made_up"
    for split, same in zip(digits[1:4], back[1:4], strict=True):
        for name, array in split.items():
            np.testing.assert_array_equal(array, same[name])
    assert os.listdir(kept.parent) == [data.ARRAYS]


def test_a_flipped_bit_is_found_or_changes_nothing(kept):
    """A few bits of the container carry nothing, such as a time; no other flip may get through."""
    whole, fingerprint = kept.read_bytes(), data.load_images("digits").fingerprint
    rng = np.random.default_rng(0)
    offsets = [*range(0, 300, 7), *rng.integers(len(whole), size=60), *range(-900, 0, 7)]
    found = 0
    for offset in offsets:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(rng.integers(8))
        kept.write_bytes(damaged)
        try:
            assert data._read_arrays(kept, "made_up").fingerprint == fingerprint
        except Exception:
            found += 1
    assert found > len(offsets) / 2


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_arrays_are_decoded_again(kept, share):
    whole = kept.read_bytes()
    kept.write_bytes(whole[: int(share * len(whole))])
    remarks = []
    with pytest.raises(UserError, match="no 'made_up'"):  # there is nothing to decode it from
        data.load_images("made_up", remarks.append)
    assert len(remarks) == 1
    assert "damaged" in remarks[0]
    assert "\n" not in remarks[0]


def test_a_failed_write_leaves_nothing_behind(kept, monkeypatch):
    def fail(descriptor):
        raise OSError("no space left")

    whole = kept.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        data._write_arrays(kept, data.load_images("digits"))
    assert os.listdir(kept.parent) == [data.ARRAYS]
    assert kept.read_bytes() == whole


def test_a_read_only_folder_does_not_prevent_loading(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr(data, "_from_tfds", lambda *_: data.load_images("digits"))
    remarks = []
    assert data.load_images("made_up", remarks.append).fingerprint == (
        data.load_images("digits").fingerprint
    )
    assert len(remarks) == 1
    assert "cannot be kept" in remarks[0]
