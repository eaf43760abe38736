"""Images of a user's own: arrays in an .npz, pictures in folders. What is off is one line."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lstm_jax.data import ignore, images
from lstm_jax.data.splits import TENTHS
from lstm_jax.errors import UserError
from lstm_jax.experiment import Experiment
from lstm_jax.tasks.images import Images
from lstm_jax.use import predict_images
from lstm_jax.use.asked import Asked

DRAWN = np.random.RandomState(0).randint(0, 256, (60, 5, 4, 3)).astype(np.uint8)
LABELS = np.arange(60) % 3
KINDS = np.array(["ant", "bee", "cat"])


def saved(path, **arrays):
    np.savez(path, **arrays)
    return images.load(str(path), ignore)


def written(folder, pictures, kinds):
    for index, (picture, kind) in enumerate(zip(pictures, kinds, strict=True)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / kind / f"{index:03}.png")


def every(dataset, name):
    return [getattr(dataset, split)[name] for split in ("train", "validation", "test")]


@pytest.mark.parametrize("pixels", [DRAWN, DRAWN[..., 0]], ids=["colour", "grey"])
def test_nothing_of_what_is_given_is_lost_or_changed(tmp_path, pixels):
    """By rule, from an .npz and from a folder; the numbers of the labels are their places."""
    flat, channels = pixels.reshape(60, 5, -1), pixels.size // (60 * 5 * 4)
    dataset = saved(tmp_path / "own.npz", images=pixels, labels=LABELS * 2 + 1)
    assert dataset.facts["classes"] == ["1", "3", "5"]
    assert (dataset.facts["num_classes"], dataset.facts["channels"]) == (3, channels)
    assert dataset.facts["split"] == f"of the images, {TENTHS}"
    numbers = np.arange(60)
    places = [numbers[(numbers % 10 != 4) & (numbers % 10 != 9)], numbers[4::10], numbers[9::10]]
    for found, labels, want in zip(
        every(dataset, "images"), every(dataset, "labels"), places, strict=True
    ):
        np.testing.assert_array_equal(found, flat[want])
        np.testing.assert_array_equal(labels, LABELS[want])
    written(tmp_path / "pictures", pixels, KINDS[LABELS])
    dataset = images.load(str(tmp_path / "pictures"), ignore)
    assert dataset.facts["classes"] == KINDS.tolist()
    assert dataset.facts["channels"] == channels
    found = {
        image.tobytes(): label
        for split in ("train", "validation", "test")
        for image, label in zip(
            *(getattr(dataset, split)[name] for name in ("images", "labels")), strict=True
        )
    }
    assert found == {image.tobytes(): label for image, label in zip(flat, LABELS, strict=True)}


@pytest.mark.parametrize(
    "names",
    [
        "train_images train_labels val_images val_labels test_images test_labels",
        "x_train y_train x_val y_val x_test y_test",
    ],
)
def test_splits_that_are_given_stay(tmp_path, names):
    """By the names of MedMNIST, whose labels are [N,1], and of Keras; in folders too."""
    cuts = (slice(0, 40), slice(40, 50), slice(50, 60))
    arrays = [a for cut in cuts for a in (DRAWN[cut], LABELS[cut, None])]
    dataset = saved(tmp_path / "own.npz", **dict(zip(names.split(), arrays, strict=True)))
    assert dataset.facts["split"] == "the user's"
    for cut, word in zip(cuts, ("train", "val", "test"), strict=True):
        written(tmp_path / "pictures" / word, DRAWN[cut], KINDS[LABELS[cut]])
    by_folder = images.load(f"{tmp_path}/pictures/", ignore)
    for found in (dataset, by_folder):
        for cut, there in zip(cuts, every(found, "images"), strict=True):
            assert sorted(i.tobytes() for i in there) == sorted(i.tobytes() for i in DRAWN[cut])


def test_an_image_of_training_is_in_no_test(tmp_path):
    heard = []
    own = {"x_train": DRAWN, "y_train": LABELS, "x_test": DRAWN[:9], "y_test": LABELS[:9]}
    np.savez(tmp_path / "own.npz", **own, x_val=DRAWN[:0], y_val=LABELS[:0])
    with pytest.raises(UserError, match="images of validation"):
        images.load(str(tmp_path / "own.npz"), ignore)
    other = np.concatenate([DRAWN[:9], 255 - DRAWN[:3]])
    np.savez(tmp_path / "own.npz", x_train=DRAWN, y_train=LABELS, x_test=other,
             y_test=np.arange(12) % 3)  # fmt: skip
    dataset = images.load(str(tmp_path / "own.npz"), heard.append)
    np.testing.assert_array_equal(dataset.test["images"], other[9:].reshape(3, 5, 12))
    assert heard == ["9 images of test are in the splits before it: left out"]


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
        ({"images": np.array([None] * 3), "labels": LABELS}, "no whole .npz"),
    ],
)  # fmt: skip
def test_an_archive_that_is_off_is_one_line(tmp_path, arrays, says):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(UserError, match=says) as error:
        images.load(str(tmp_path / "own.npz"), ignore)
    assert "\n" not in str(error.value)


def test_a_file_that_is_none_or_a_folder_that_is_off_is_one_line(tmp_path):
    for name, says in (("absent.npz", "is not there"), ("absent/", "is not there")):
        with pytest.raises(UserError, match=says):
            images.load(f"{tmp_path}/{name}", ignore)
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty").mkdir()
    for name, says in (("text.npz", "no whole .npz"), ("empty", "a class is a folder")):
        with pytest.raises(UserError, match=says):
            images.load(f"{tmp_path}/{name}", ignore)
    written(tmp_path / "sizes", [DRAWN[0], DRAWN[1, :3]], ["ant", "bee"])
    with pytest.raises(UserError, match=re.escape("bee/001.png has 3 x 4 pixels")):
        images.load(str(tmp_path / "sizes"), ignore)
    (tmp_path / "sizes" / "bee" / "001.png").write_text("no picture")
    with pytest.raises(UserError, match=r"bee/001\.png: no picture"):
        images.load(str(tmp_path / "sizes"), ignore)


@pytest.mark.parametrize("pixels", [DRAWN, DRAWN[..., 0]], ids=["colour", "grey"])
def test_a_picture_is_asked_as_it_was_learnt_and_answered_by_its_class(tmp_path, pixels):
    """Whoever learnt from a folder predicts from it, to the byte; another size is brought to it."""
    written(tmp_path, pixels, KINDS[LABELS])
    dataset = images.load(str(tmp_path), ignore)
    seen = []

    def probabilities(images):
        seen.append(images[0])
        return np.array([[0.1, 0.2, 0.7]])

    trained = SimpleNamespace(
        facts=dataset.facts, image_shape=tuple(dataset.facts["shapes"]["images"]),
        probabilities=probabilities, member=Experiment(task=Images(dataset=str(tmp_path))),
    )  # fmt: skip
    said = []
    Image.fromarray(pixels[1]).resize((40, 50)).save(tmp_path / "large.png")
    for name, as_json in (("ant/000.png", False), ("large.png", True)):
        asked = Asked((str(tmp_path / name),), json=as_json)
        predict_images.predict(trained, asked, said.append)
    np.testing.assert_array_equal(seen[0], pixels[0].reshape(5, -1))
    assert seen[1].shape == seen[0].shape
    assert said[0].endswith("000.png: cat (70.0%), then bee (20.0%)")
    assert json.loads(said[1])["class"] == "cat"
