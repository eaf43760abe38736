"""A user's own images: arrays in an .npz, pictures in folders. A mistake is one line."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lstm_jax.config.data_files import readings_of
from lstm_jax.data import images
from lstm_jax.data.dataset import say_nothing
from lstm_jax.data.image_files import picture_sizes
from lstm_jax.data.labelled_splits import SPLITS, TENTHS, sorted_classes
from lstm_jax.errors import UserError
from lstm_jax.predict.images import classify, predict
from lstm_jax.predict.pictures import read_as_is
from lstm_jax.predict.predict import PredictOptions

DRAWN = np.random.RandomState(0).randint(0, 256, (60, 5, 4, 3)).astype(np.uint8)
LABELS = np.arange(60) % 3
KINDS = np.array(["ant", "bee", "cat"])


def saved(path, **arrays):
    np.savez(path, **arrays)
    return images.load_images(str(path), say_nothing)


def written(folder, pictures, kinds):
    for index, (picture, kind) in enumerate(zip(pictures, kinds, strict=True)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / kind / f"{index:03}.png")


def every(dataset, name):
    return [getattr(dataset, split)[name] for split in SPLITS]


@pytest.mark.parametrize("pixels", [DRAWN, DRAWN[..., 0]], ids=["colour", "grey"])
def test_no_image_is_lost_or_changed(tmp_path, pixels):
    """By rule, from an .npz and from a folder; each class is split by itself."""
    flat, channels = pixels.reshape(60, 5, -1), pixels.size // (60 * 5 * 4)
    wanted = {(image.tobytes(), label) for image, label in zip(flat, LABELS, strict=True)}
    written(tmp_path / "pictures", pixels, KINDS[LABELS])
    (tmp_path / "pictures" / ".hidden").mkdir()
    Image.fromarray(DRAWN[0]).save(tmp_path / "pictures" / ".hidden" / "no.png")
    Image.fromarray(DRAWN[0]).save(tmp_path / "pictures" / "ant" / "._000.png")
    by_file = saved(tmp_path / "own.npz", images=pixels, labels=LABELS * 2 + 9)
    by_folder = images.load_images(str(tmp_path / "pictures"), say_nothing)
    assert by_file.metadata["classes"] == ["9", "11", "13"]  # by their values, not as words
    assert by_folder.metadata["classes"] == KINDS.tolist()
    for dataset in (by_file, by_folder):
        assert (dataset.metadata["num_classes"], dataset.metadata["channels"]) == (3, channels)
        rule = f"of each class of the images, by a hash of the image, {TENTHS}"
        assert dataset.metadata["split"] == rule
        pairs = zip(every(dataset, "images"), every(dataset, "labels"), strict=True)
        found = [(i.tobytes(), n) for split in pairs for i, n in zip(*split, strict=True)]
        assert len(found) == 60
        assert set(found) == wanted
        for labels, share in zip(every(dataset, "labels"), (16, 2, 2), strict=True):
            assert np.bincount(labels).tolist() == [share] * 3
            assert {*labels[:6].tolist()} == {0, 1, 2}  # the first of them are of all classes


@pytest.mark.parametrize(
    "names",
    [
        "train_images train_labels val_images val_labels test_images test_labels",
        "x_train y_train x_val y_val x_test y_test",
    ],
)
def test_existing_splits_are_kept(tmp_path, names):
    """By the names of MedMNIST, whose labels are [N,1], and of Keras; in folders too."""
    cuts = (slice(0, 40), slice(40, 50), slice(50, 60))
    arrays = [a for cut in cuts for a in (DRAWN[cut], LABELS[cut, None])]
    dataset = saved(tmp_path / "own.npz", **dict(zip(names.split(), arrays, strict=True)))
    assert dataset.metadata["split"] == "the user's"
    for cut, word in zip(cuts, ("train", "val", "test"), strict=True):
        written(tmp_path / "pictures" / word, DRAWN[cut], KINDS[LABELS[cut]])
    by_folder = images.load_images(f"{tmp_path}/pictures/", say_nothing)
    for found in (dataset, by_folder):
        splits = zip(every(found, "images"), every(found, "labels"), strict=True)
        for cut, (there, labels) in zip(cuts, splits, strict=True):
            pairs = zip(DRAWN[cut], LABELS[cut], strict=True)
            assert {(i.tobytes(), n) for i, n in zip(there, labels, strict=True)} == {
                (i.tobytes(), n) for i, n in pairs
            }


@pytest.mark.parametrize("kept", ["val", "test"])
def test_an_existing_split_is_kept_and_the_missing_one_is_taken_from_training(tmp_path, kept):
    own = {"x_train": DRAWN[:50], "y_train": LABELS[:50]}
    own |= {f"x_{kept}": DRAWN[50:], f"y_{kept}": LABELS[50:]}
    dataset = saved(tmp_path / "own.npz", **own)
    sizes = {"val": [45, 10, 5], "test": [45, 5, 10]}[kept]
    assert [len(labels) for labels in every(dataset, "labels")] == pytest.approx(sizes, abs=2)
    there = dataset.validation if kept == "val" else dataset.test
    np.testing.assert_array_equal(there["images"], DRAWN[50:].reshape(10, 5, 12))
    np.testing.assert_array_equal(there["labels"], LABELS[50:])


def test_an_image_of_training_is_removed_from_the_test(tmp_path):
    heard = []
    own = {"x_train": DRAWN, "y_train": LABELS, "x_test": DRAWN[:9], "y_test": LABELS[:9]}
    np.savez(tmp_path / "own.npz", **own, x_val=DRAWN[:0], y_val=LABELS[:0])
    with pytest.raises(UserError, match="no images for validation and test"):
        images.load_images(str(tmp_path / "own.npz"), say_nothing)
    other = np.concatenate([DRAWN[:9], 255 - DRAWN[:3]])
    np.savez(tmp_path / "own.npz", x_train=DRAWN, y_train=LABELS, x_test=other,
             y_test=np.arange(12) % 3)  # fmt: skip
    dataset = images.load_images(str(tmp_path / "own.npz"), heard.append)
    np.testing.assert_array_equal(dataset.test["images"], other[9:].reshape(3, 5, 12))
    assert heard == ["test: left out 9 of 12 images, duplicates of images in the splits before it"]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"pictures": DRAWN}, "needs arrays train_images.* it has pictures"),
        ({"images": DRAWN / 255, "labels": LABELS}, r"are float64\[60, 5, 4, 3\], not uint8"),
        ({"images": DRAWN[:, 0, 0], "labels": LABELS}, r"are uint8\[60, 3\], not uint8"),
        ({"images": DRAWN, "labels": LABELS[:-1]}, r"int64\[59\], not 60 whole"),
        ({"images": DRAWN, "labels": LABELS / 2}, "float64"),
        ({"images": DRAWN, "labels": 0 * LABELS}, "1 different labels"),
        ({"images": DRAWN[:3], "labels": LABELS[:3]}, "no images for validation and test"),
        ({"x_train": DRAWN, "y_train": LABELS, "x_test": DRAWN[:, 1:], "y_test": LABELS},
         "test in .* are 4 x 4 x 3, those of train 5 x 4 x 3"),
        ({"x_train": DRAWN, "y_train": LABELS, "x_test": 255 - DRAWN, "y_test": LABELS + 1},
         "the label '3' in test and not in training"),
        ({"images": np.array([None] * 3), "labels": LABELS}, "is not a whole .npz of plain arrays"),
        ({"images": DRAWN[..., :2], "labels": LABELS}, "the channels, 1 or 3"),
        ({"x_train": DRAWN, "y_train": LABELS, "x_test": DRAWN}, "has x_test and no y_test"),
    ],
)  # fmt: skip
def test_a_wrong_archive_is_one_line(tmp_path, arrays, says):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(UserError, match=says) as error:
        images.load_images(str(tmp_path / "own.npz"), say_nothing)
    assert "\n" not in str(error.value)


def test_a_missing_or_wrong_file_or_folder_is_one_line(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "empty").mkdir()
    written(tmp_path / "sizes", [DRAWN[0], DRAWN[1, :3]], ["ant", "bee"])
    written(tmp_path / "none", DRAWN[:1], ["ant"])
    (tmp_path / "none" / "ant" / "000.png").write_text("no picture")
    written(tmp_path / "deep", [np.arange(20, dtype=np.uint16).reshape(5, 4)], ["ant"])
    for name, says in (
        ("absent.npz", "is not there"),
        ("absent/", "is not there"),
        ("text.npz", "is not a whole .npz of plain arrays, as numpy.savez writes it"),
        ("cut.npz", "is not a whole .npz"),
        ("empty", "a class is a folder"),
        ("sizes", "bee/001.png has 3 x 4 pixels"),
        ("none", "ant/000.png: not a picture"),
        ("deep", "ant/000.png: has more than 8 bits a pixel"),
    ):
        with pytest.raises(UserError, match=re.escape(says)):
            images.load_images(f"{tmp_path}/{name}", say_nothing)
    with pytest.raises(UserError, match="no such user's home"):
        images.load_images("~nobody-of-this-name/own.npz", say_nothing)


@pytest.mark.parametrize(("shape", "channels"), [("4x6", 3), ("4x6x1", 1)])
def test_pictures_of_several_sizes_are_read_as_predict_reads_them(tmp_path, shape, channels):
    sizes = [(5, 4), (9, 7), (4, 6)]
    rng = np.random.RandomState(0)
    pictures = [rng.randint(0, 256, (*sizes[i % 3], 3)).astype(np.uint8) for i in range(30)]
    written(tmp_path, pictures, KINDS[np.arange(30) % 2])
    (reading,) = readings_of(tmp_path)
    assert (reading.task.shape, len(picture_sizes(tmp_path.glob("*/*")))) == ("64x64", 3)
    heard = []
    dataset = images.load_images(str(tmp_path), heard.append, None, shape)
    read = {image.tobytes() for image in np.concatenate(every(dataset, "images"))}
    files = tmp_path.glob("*/*.png")
    assert read == {read_as_is(f, (4, 6 * channels), channels).image.tobytes() for f in files}
    assert dataset.metadata["channels"] == channels
    assert heard == [
        "dataset: 20 pictures are scaled to 4 x 6 pixels, whatever their proportions",
    ]
    with pytest.raises(UserError, match="'big' is not rows x columns to which"):
        images.load_images(str(tmp_path), say_nothing, None, "big")


def test_pictures_and_folders_that_are_left_out_are_reported(tmp_path):
    written(tmp_path, DRAWN, KINDS[LABELS])
    written(tmp_path / "ant", 255 - DRAWN[:2], ["deep", "deep"])  # these are ants
    (tmp_path / "dog").mkdir()
    Image.fromarray(DRAWN[0]).save(tmp_path / "loose.png")
    heard = []
    dataset = images.load_images(str(tmp_path), heard.append)
    assert sum(map(len, every(dataset, "labels"))) == 62
    assert heard == [
        f"{tmp_path}: no pictures lie in dog",
        f"{tmp_path}: left out 1 pictures that lie in no folder of a class",
    ]


def test_a_pattern_in_the_names_of_pictures_is_not_one_of_the_split(tmp_path):
    """Every fifth picture is light: by the order of names none of the test were."""
    is_light = np.arange(200) % 5 == 4
    pixels = np.where(is_light[:, None, None], np.full((3, 3), 200), 0).astype(np.uint8)
    pixels[:, 0, 0] = np.arange(200)  # no two are the same
    written(tmp_path, pixels, KINDS[np.arange(200) % 2])
    dataset = images.load_images(str(tmp_path), say_nothing)
    for split in every(dataset, "images")[1:]:
        assert 0 < (split[:, 1, 1] >= 200).mean() < 0.6
    by_array = saved(tmp_path / "own.npz", images=pixels, labels=np.arange(200) % 2)
    for one, other in zip(every(dataset, "images"), every(by_array, "images"), strict=True):
        assert {image.tobytes() for image in one} == {image.tobytes() for image in other}


def test_no_link_leads_out_of_the_folder_and_counts_are_right(tmp_path):
    folder, outside = tmp_path / "own", tmp_path / "outside"
    written(folder, DRAWN[:40], KINDS[LABELS[:40]])
    written(outside, 255 - DRAWN[:8], ["dog"] * 8)
    (folder / "dog").symlink_to(outside / "dog")
    (folder / "ant" / "more").symlink_to(outside / "dog")
    (folder / "ant" / "one.png").symlink_to(outside / "dog" / "000.png")
    (folder / "bee" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "bee" / "round").symlink_to(folder / "bee")
    (folder / "bee" / "inside.png").symlink_to(folder / "loose.png")
    Image.fromarray(255 - DRAWN[50]).save(folder / "loose.png")
    heard = []
    dataset = images.load_images(str(folder), heard.append)
    assert dataset.metadata["classes"] == KINDS.tolist()
    assert sum(map(len, every(dataset, "labels"))) == 41  # with the picture that lies inside
    assert heard == [
        f"{folder}: left out 1 pictures that lie in no folder of a class",
        f"{folder}: left out 4 links that lead out of the folder or nowhere, such as {folder}/dog",
    ]
    (tmp_path / "linked").symlink_to(folder)  # the folder itself may be named by a link
    linked = images.load_images(str(tmp_path / "linked"), say_nothing)
    assert linked.fingerprint == dataset.fingerprint


def test_a_class_that_is_too_small_and_a_folder_beside_training_are_named(tmp_path):
    written(tmp_path / "own", DRAWN[:23], ["ant"] * 20 + ["bee"] * 3)
    heard = []
    images.load_images(str(tmp_path / "own"), heard.append)
    assert len(heard) == 1
    assert "has no image of the class `bee` (" in heard[0]
    (tmp_path / "both").mkdir()
    for split, first in (("train", 0), ("valid", 30), ("test", 40), ("cats", 50)):
        written(tmp_path / "both" / split, DRAWN[first : first + 4], ["ant", "bee"] * 2)
    heard.clear()
    images.load_images(str(tmp_path / "both"), heard.append)
    assert heard == [f"{tmp_path}/both: left out cats, beside the folder of training"]


def test_classes_are_sorted_as_numbers_then_words():
    """`nan` is a word: it would stand anywhere among numbers, by the order in which they came."""
    for labels in (["nan", "10", "2"], ["2", "nan", "10"], ["10", "2", "nan"]):
        splits = {name: [(label, 0) for label in labels] for name in SPLITS}
        assert sorted_classes("own", splits, "images", "") == ["2", "10", "nan"]


@pytest.mark.parametrize("pixels", [DRAWN, DRAWN[..., 0]], ids=["colour", "grey"])
def test_a_picture_is_predicted_as_it_was_trained_on_and_its_class_is_named(tmp_path, pixels):
    """Whoever learnt from a folder predicts from it, to the byte; another size is brought to it."""
    written(tmp_path, pixels, KINDS[LABELS])
    dataset = images.load_images(str(tmp_path), say_nothing)
    seen = []

    def probabilities(images):
        seen.append(images[0])
        return np.array([[0.1, 0.2, 0.7]])

    trained = SimpleNamespace(
        reads_drawings=False, picture_channels=dataset.metadata["channels"],
        class_names=dataset.metadata["classes"],
        image_shape=tuple(dataset.metadata["shapes"]["images"]), probabilities=probabilities,
    )  # fmt: skip
    said = []
    Image.fromarray(pixels[1]).resize((40, 50)).save(tmp_path / "large.png")
    for name, as_json in (("ant/000.png", False), ("large.png", True)):
        options = PredictOptions((str(tmp_path / name),), json=as_json)
        predict(trained, options, said.append)
    np.testing.assert_array_equal(seen[0], pixels[0].reshape(5, -1))
    assert seen[1].shape == seen[0].shape
    assert said[0].endswith("000.png: cat (70.0%), then bee (20.0%)")
    assert json.loads(said[1])["class"] == "cat"
    assert json.loads(said[1])["notes"] == []
    trained.probabilities = lambda images: np.full((len(images), 3), 1 / 3)
    folder = tmp_path / "ant"
    assert len(classify(trained, folder).labels) == len([*folder.iterdir()]) > 1
