"""Pictures as people hand them in: drawn, photographed, damaged."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from lstm_jax.config.experiment import Experiment
from lstm_jax.data.image_files import files_in
from lstm_jax.data.images import load_images
from lstm_jax.errors import UserError
from lstm_jax.predict.images import read_input
from lstm_jax.predict.pictures import read_picture
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.images import Images


def pictures(image, draw):
    """The image as people hand it in: scaled, with a margin, dark on light or light on dark."""
    picture = Image.fromarray(image).resize([int(draw.integers(40, 200))] * 2)
    left, top = draw.integers(0, 60, 2)
    canvas = Image.new("L", (picture.width + 2 * left, picture.height + 2 * top))
    canvas.paste(picture, (left, top))
    return ImageOps.invert(canvas) if draw.random() < 0.5 else canvas


@pytest.fixture(scope="module")
def mnist_like(tmp_path_factory):
    """28 x 28 images made as MNIST's were: a box of 20 pixels, centred by mass."""
    path, actual = tmp_path_factory.mktemp("digits") / "a.png", []
    for image in load_images("digits").test["images"][:40]:
        Image.fromarray(np.pad(image, 2)).save(path)
        actual.append(read_picture(str(path), (28, 28)).image)
    return np.stack(actual)


def test_a_picture_comes_back_as_the_image_it_was_made_from(mnist_like, tmp_path):
    draw = np.random.default_rng(0)
    for index, image in enumerate(mnist_like):
        path = tmp_path / f"{index}.png"
        pictures(image, draw).save(path)
        actual = read_picture(str(path), (28, 28)).image.astype(float)
        assert np.corrcoef(actual.ravel(), image.ravel())[0, 1] > 0.8
        assert actual[0].max() == actual[:, 0].max() == 0


def test_a_thin_pen_on_a_large_sheet_is_as_white_as_any(tmp_path):
    sheet = Image.new("L", (3000, 3000), 255)
    ImageDraw.Draw(sheet).line([(500, 400), (1500, 2400), (2500, 400)], fill=0, width=3)
    sheet.save(tmp_path / "thin.png")
    assert read_picture(str(tmp_path / "thin.png"), (28, 28)).image.max() > 250


def lit(kind, side, draw):
    """How much light falls on each pixel of a sheet, float [side, side], at most 1."""
    y, x = np.mgrid[0:side, 0:side] / side
    if kind == "from the side":
        light = 0.35 + 0.65 * x
    elif kind == "a lamp":
        light = np.exp(-1.5 * ((x - 0.4) ** 2 + (y - 0.3) ** 2))
    else:  # a shadow's edge across the sheet
        light = 0.5 + 0.5 / (1 + np.exp(-40 * (x + y - 0.8)))
    return light + draw.normal(0, 0.015, light.shape)


@pytest.mark.parametrize("light_ink", [False, True])
@pytest.mark.parametrize("kind", ["from the side", "a lamp", "a shadow"])
def test_uneven_light_is_taken_off(mnist_like, tmp_path, kind, light_ink):
    """Photographed on a sheet, or in chalk on a board that is not black."""
    draw, path, close = np.random.default_rng(1), tmp_path / "photo.png", []
    for image in mnist_like[:20]:
        side = int(draw.integers(120, 500))
        ink = np.zeros((side, side), np.float32)
        size = int(side * draw.uniform(0.5, 0.9))
        at = int(draw.integers(0, side - size))
        ink[at : at + size, at : at + size] = (
            np.asarray(Image.fromarray(image).resize([size] * 2)) / 255
        )
        sheet = (0.3 + 0.65 * ink) if light_ink else (0.95 - 0.8 * ink)
        photo = np.clip(sheet * lit(kind, side, draw), 0, 1)
        Image.fromarray(np.rint(photo * 255).astype(np.uint8)).save(path)
        actual = read_picture(str(path), (28, 28)).image.astype(float)
        close.append(np.corrcoef(actual.ravel(), image.ravel())[0, 1])
    assert np.median(close) > 0.8, close
    assert np.min(close) > 0.6, close


def test_uneven_paper_without_ink_has_nothing_drawn_on_it(tmp_path):
    light = np.linspace(90, 250, 200)[None].repeat(150, axis=0).astype(np.uint8)
    Image.fromarray(light).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="nothing is drawn on it"):
        read_picture(str(tmp_path / "a.png"), (28, 28))


@pytest.mark.parametrize("white", [False, True])
def test_ink_on_transparency_is_read_in_either_colour(mnist_like, tmp_path, white):
    """As drawing programs write it: what is not drawn on has a colour too, which nobody sees."""
    for image in mnist_like[:5]:
        colour = np.full((28, 28, 3), 255 * white, np.uint8)
        Image.fromarray(np.dstack([colour, image])).resize((90, 90)).save(tmp_path / "a.png")
        actual = read_picture(str(tmp_path / "a.png"), (28, 28)).image.astype(float)
        assert np.corrcoef(actual.ravel(), image.ravel())[0, 1] > 0.8


def test_drawings_with_a_gap_between_are_counted(mnist_like, tmp_path):
    """Two digits beside each other, or in two lines; the parts of one are no digits."""
    draw, path = np.random.default_rng(2), tmp_path / "a.png"

    def seen(pixels):
        Image.fromarray(255 - np.pad(pixels, 20)).resize((300, 300)).save(path)
        return read_picture(str(path), (28, 28)).drawings

    assert all(seen(image) == 1 for image in mnist_like)
    for _ in range(20):
        two = mnist_like[draw.choice(len(mnist_like), 2)]
        assert seen(np.concatenate(two, axis=1)) == seen(np.concatenate(two, axis=0)) == 2
    five = np.zeros((28, 28), np.uint8)
    five[4:6, 10:20], five[8:22, 10:13], five[20:22, 10:20] = 255, 255, 255  # its bar lifted off
    assert seen(five) == 1


def test_a_folder_gives_its_pictures_by_name(tmp_path):
    for name in ("b.PNG", "a.jpg"):
        Image.new("L", (9, 9)).save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert files_in(tmp_path) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.PNG")]


def damaged(path, kind):
    if kind == "text":
        path.write_text("no picture")
    elif kind == "cut":
        Image.fromarray(np.arange(900, dtype=np.uint8).reshape(30, 30)).save(path)
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "blank":
        Image.new("L", (30, 30), 200).save(path)
    elif kind == "specks":
        specks = np.zeros((3000, 3000), np.uint8)
        specks[5, 5] = specks[-5, -5] = 255
        Image.fromarray(specks).save(path)
    elif kind == "huge":
        Image.new("1", (8000, 8000)).save(path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("absent", "No such file"),
        ("text", "not a picture, or a damaged one"),
        ("cut", "not a picture, or a damaged one"),
        ("empty", "not a picture, or a damaged one"),
        ("blank", "nothing is drawn on it"),
        ("specks", "nothing is drawn on it but specks"),
        ("huge", "8000 x 8000 pixels are more than"),
    ],
)
def test_what_is_no_picture_is_one_line(tmp_path, kind, words):
    path = tmp_path / "a.png"
    damaged(path, kind)
    with pytest.raises(UserError, match=words) as caught:
        read_picture(str(path), (28, 28))
    assert "\n" not in str(caught.value)


def test_only_a_set_of_drawings_is_prepared_like_mnist(tmp_path):
    """In arrays of one's own, place, size and shade may be the answer: a file of one of them is
    read back to the byte. A named set of clothes is no set of drawings either.
    """
    image = np.full((28, 28), 235, np.uint8)
    image[3:-3, 4:7] = 10
    path = tmp_path / "left.png"
    Image.fromarray(image).save(path)
    Image.fromarray(image).resize((56, 28)).save(tmp_path / "wide.png")

    def model(name, shape=(28, 28), **metadata):
        metadata = {"shapes": {"images": list(shape)}, "num_classes": 3, **metadata}
        return TrainedModel("t", Experiment(task=Images(dataset=name)), 1, None, metadata, {})

    for name in ("mnist", "emnist/letters", "digits"):
        assert model(name).reads_drawings
    for name in ("bars@0123456789ab", "mnist@0123456789ab", "fashion_mnist", "./own.npz"):
        assert not model(name).reads_drawings
        (picture,) = read_input(str(path), model(name))
        np.testing.assert_array_equal(picture.image, image)
        assert picture.squeezed_from is None
    (wide,) = read_input(str(tmp_path / "wide.png"), model("bars@0123456789ab"))
    assert wide.squeezed_from == "56 x 28"
    (colour,) = read_input(str(path), model("bars@0123456789ab", (28, 84)))
    np.testing.assert_array_equal(colour.image.reshape(28, 28, 3)[..., 1], image)
    with pytest.raises(UserError, match=r"28 x 20, .*make_dataset\(\.\.\., channels=1\)"):
        read_input(str(path), model("bars@0123456789ab", (28, 20)))
    (narrow,) = read_input(str(path), model("bars@0123456789ab", (28, 20), channels=1))
    assert narrow.image.shape == (28, 20)
