"""Image classification, a row, a column or a pixel at each time step.

Axes: N images, B batch, T rows or other time steps, I features of a time step, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lstm_jax.data.dataset import Arrays, Dataset, Say
from lstm_jax.errors import UserError
from lstm_jax.fields import Axis, axis
from lstm_jax.tasks.classification import LABEL_SMOOTHING, ClassificationTask
from lstm_jax.tasks.task import Batch, Inputs, ModelSpec, Task

if TYPE_CHECKING:
    import jax

READINGS = ("rows", "columns", "pixels", "permuted")


@dataclass(frozen=True)
class Images(ClassificationTask):
    """Image classification."""

    name: ClassVar[str] = "images"
    predictor: ClassVar[str | None] = "lstm_jax.predict.images:predict"
    answers: ClassVar[str | None] = "lstm_jax.predict.images:classify"
    figures: ClassVar[str | None] = "lstm_jax.report.figures.images:answer_figures"

    dataset: Axis[str] = axis(
        "mnist",
        "`mnist`, `digits` (bundled, no network), the name of a TFDS image classification set, or "
        "the path of an .npz of images, of a table (CSV, Parquet) with a label and all pixels in "
        "each row, or of a folder with a folder of pictures for each class",
        data=True,
    )
    label_column: Axis[str | None] = axis(
        None, "the column of the labels in a table: a name, or a number from 1; none: the one that "
        "is named label or alike",
        data=True,
    )  # fmt: skip
    shape: Axis[str | None] = axis(
        None, "the shape of the images in a table, such as 28x28 or 28x28x3 (rows, columns, "
        "channels), none: they are square, with one channel; or that to which pictures in folders "
        "are scaled, none: they have one size",
        data=True,
    )  # fmt: skip
    reading: Axis[str] = axis(
        "rows",
        "what a time step reads: a row, a column or a pixel of the image (784 time steps for "
        "MNIST), or `permuted`, pixels in one fixed random order; the last two test long memories",
        choices=lambda: READINGS,
    )
    pool: Axis[int] = axis(
        1, "side of the squares of pixels whose mean stands for them: 2 makes 14 x 14 pixels of "
        "28 x 28, a quarter of the time steps of `pixels`; 1: every pixel",
        low=1, high=1024,
    )  # fmt: skip
    shift: Axis[int] = axis(
        0, "maximum shift of training images in pixels, horizontally and vertically, zero-padded",
        low=0, high=1024, setting=True,
    )  # fmt: skip
    label_smoothing: Axis[float] = axis(0.0, **LABEL_SMOOTHING)

    def load(self, say: Say) -> Dataset:
        from lstm_jax.data.images import load_images

        return load_images(self.dataset, say, self.label_column, self.shape)

    def convert_data(self, dataset: Dataset) -> Dataset:
        from lstm_jax.data.images import convert_images

        return convert_images(dataset)

    def check_data(self, dataset: Dataset) -> None:
        from lstm_jax.data.images import check_images

        check_images(dataset)

    def built_in(self) -> Task | None:
        if self.dataset == "digits":
            return None
        return replace(self, dataset="digits", label_column=None, shape=None)

    def describe_example(self, example: Arrays, metadata: dict[str, Any]) -> str:
        image_TI, classes = example["images"], metadata.get("classes")
        name = classes[example["labels"]] if classes else example["labels"]
        rows, features = image_TI.shape
        width = features // num_channels(metadata)
        return (
            f"class {name}, {rows} rows of {width} pixels from {image_TI.min()} to "
            f"{image_TI.max()}, mean {image_TI.mean():.1f}"
        )

    def doubts(self, dataset: Dataset) -> list[str]:
        if dataset.train["images"].max(initial=0) != 1:
            return []
        return ["pixels are 0 or 1 of 255, all nearly black; if 1 is white, multiply them by 255"]

    def model_spec(self, metadata: dict[str, Any]) -> ModelSpec:
        rows, features = metadata["shapes"]["images"]
        if self.shift and features != rows * num_channels(metadata):
            raise UserError(
                f"task.shift: needs square images; {self.dataset} has {rows} x {features}"
            )
        if self.shift >= rows:
            raise UserError(
                f"task.shift: {self.shift} moves images of {rows} rows out of sight; give less"
            )
        if self.pool > 1 and (features != rows * num_channels(metadata) or rows % self.pool):
            raise UserError(
                f"task.pool: needs square images whose side is a multiple of {self.pool}; "
                f"{self.dataset} has {rows} x {features}; give a divisor of the side, or 1"
            )
        rows, features = self.read_shape(metadata)
        width = {"rows": features, "columns": rows}.get(self.reading, 1)
        return ModelSpec(num_features=width, num_outputs=metadata["num_classes"])

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        if not self.shift:
            return batch
        return {**batch, "images": shift_images(key, batch["images"], self.shift)}

    def inputs(self, batch: Batch) -> Inputs:
        import jax.numpy as jnp

        x_BTI = self.sequences(batch["images"]).astype(jnp.float32) / 255.0
        return Inputs(x_BTI.swapaxes(0, 1))

    def sequences(self, images_NTI: Any) -> Any:
        """Returns images [N,T,I], of NumPy or JAX, as the sequences that the model reads."""
        return to_sequences(mean_pool(images_NTI, self.pool), self.reading)

    def read_shape(self, metadata: dict[str, Any]) -> tuple[int, int]:
        """Returns the rows and features of an image after pooling."""
        rows, features = metadata["shapes"]["images"]
        return rows // self.pool, features // self.pool

    def num_time_steps(self, metadata: dict[str, Any]) -> int:
        """Returns the number of time steps in which an image is read."""
        rows, features = self.read_shape(metadata)
        return {"rows": rows, "columns": features}.get(self.reading, rows * features)

    @property
    def time_step_name(self) -> str:
        """What a time step reads: row, column or pixel."""
        return {"permuted": "pixel"}.get(self.reading, self.reading.rstrip("s"))


def num_channels(metadata: dict[str, Any]) -> int:
    """Returns the number of channels of an image, which lie side by side in its rows.

    The metadata of a user's own files hold it. Other sets have three channels where a row is three
    times as wide as the image is high, and else one.
    """
    rows, features = metadata["shapes"]["images"]
    return metadata.get("channels") or (3 if features == 3 * rows else 1)


def mean_pool(images_NTI: Any, size: int) -> Any:
    """Returns the means of all squares of `size` x `size` pixels, float32 [N, T/size, I/size].

    With `size` 1 it returns the images as they are. Images are square, as in `shift_images`.
    """
    if size == 1:
        return images_NTI
    import numpy as np

    rows, features = images_NTI.shape[1:]
    channels = max(1, features // rows)
    small, columns = rows // size, features // (size * channels)
    squares = images_NTI.reshape(-1, small, size, columns, size, channels).astype(np.float32)
    # One addition after the other: a plain sum may be ordered by the number of threads.
    total = sum(squares[:, :, y, :, x] for y in range(size) for x in range(size))
    return (total * (1 / size**2)).reshape(-1, small, columns * channels)


def to_sequences(images_NTI: Any, reading: str) -> Any:
    """Returns images [N,T,I], of NumPy or JAX, as the sequences that the model reads.

    `rows` are the images, `columns` are [N,I,T], `pixels` are [N,T*I,1], and `permuted` are the
    pixels in one fixed random order.
    """
    import numpy as np

    if reading == "rows":
        return images_NTI
    if reading == "columns":
        return images_NTI.swapaxes(1, 2)
    rows, features = images_NTI.shape[1:]
    pixels = images_NTI.reshape(-1, rows * features, 1)
    # RandomState's streams are frozen; those of numpy's newer generators may change.
    order = np.random.RandomState(0).permutation(rows * features)
    return pixels if reading == "pixels" else pixels[:, order]


def shift_images(key: jax.Array, images_BTI: jax.Array, max_shift: int) -> jax.Array:
    """Returns each image shifted by a random number of pixels, at most `max_shift` each way.

    Images are square: a pixel is I / T values wide, because its channels lie side by side.
    """
    import jax
    import jax.numpy as jnp

    size, rows, features = images_BTI.shape
    channels = max(1, features // rows)
    padding = ((0, 0), (max_shift, max_shift), (max_shift * channels, max_shift * channels))
    padded = jnp.pad(images_BTI, padding)
    pixel_12 = jnp.array([[1, channels]], jnp.int32)
    offset_B2 = jax.random.randint(key, (size, 2), 0, 2 * max_shift + 1) * pixel_12

    def window(image: jax.Array, offset_2: jax.Array) -> jax.Array:
        start = offset_2[0], offset_2[1]
        return jax.lax.dynamic_slice(image, start, (rows, features))

    return jax.vmap(window)(padded, offset_B2)
