"""Scenes with a sentence each: pictures of an image set, put together by a small grammar.

    a three beside a seven                  the three on the left
    a three above an eight
    a three larger than a seven             twice as large, on either side
    a three beside a seven beside a two     from left to right
    a three beside a seven above a two      the two below both

The pictures are those of the image set; scenes and sentences are made. A combination, such as
(above, three, eight), is in one split alone, and so is a picture.

Axes: N scenes, s rows and columns of a picture, W symbols of the longest sentence.
"""

from __future__ import annotations

import itertools

import numpy as np

from lstm_jax.data import tokens
from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset
from lstm_jax.data.dates import number_in_words
from lstm_jax.data.images import load_images
from lstm_jax.errors import UserError

GRAMMAR = {
    "beside": "{} beside {}",
    "above": "{} above {}",
    "larger": "{} larger than {}",
    "row": "{} beside {} beside {}",
    "pair": "{} beside {} above {}",
}
HELD_OUT = {"validation": 0.1, "test": 0.15}  # shares of the combinations of each form
NUM_SCENES = {"validation": 1_000, "test": 2_000}
MAX_CLASSES = 50  # three of them then make 125,000 combinations
MAX_VOCABULARY = 10_000


def load_scenes(name: str, num_scenes: int, shrink: int, say: Say) -> Dataset:
    """Returns `scenes`, uint8 [N,2s,3s], their sentences `target`, int32 [N,W], `target_lengths`.

    Training has `num_scenes` scenes. Pictures become `shrink` times smaller. Raises UserError for
    an image set from which no scenes can be made, and what `load_images` raises.
    """
    image_set = load_images(name, say)
    num_classes = image_set.metadata["num_classes"]
    rows, columns = image_set.metadata["shapes"]["images"]
    if rows != columns or num_classes > MAX_CLASSES:
        raise UserError(
            f"task.dataset: scenes are made of square grey pictures of at most {MAX_CLASSES} "
            f"classes; {name} has {rows} x {columns}, {num_classes} classes"
        )
    if rows % shrink:
        raise UserError(f"task.shrink: {shrink} does not divide the {rows} rows of a picture")
    random = np.random.RandomState(0)  # its streams are frozen
    combinations = _split_combinations(num_classes, random)
    sentences: dict[str, list[list[str]]] = {}
    splits: dict[str, Arrays] = {}
    for split, pictures in (
        ("train", image_set.train), ("validation", image_set.validation), ("test", image_set.test)
    ):  # fmt: skip
        by_class = [np.flatnonzero(pictures["labels"] == c) for c in range(num_classes)]
        if missing := [c for c in range(num_classes) if not len(by_class[c])]:
            raise UserError(f"task.dataset: {name} has no picture of class {missing[0]} in {split}")
        small = _shrink(pictures["images"], shrink)
        count = NUM_SCENES.get(split, num_scenes)
        scenes, sentences[split] = _make_scenes(small, by_class, combinations[split], count, random)
        splits[split] = {"scenes": scenes}
    known, others = tokens.sentence_vocabulary(sentences, MAX_VOCABULARY)
    width = 1 + max(len(sentence) for split in sentences.values() for sentence in split)
    for split, arrays in splits.items():
        arrays["target"] = tokens.encode_sentences(sentences[split], known, others, width, end=True)
        arrays["target_lengths"] = np.array([len(s) + 1 for s in sentences[split]], np.int32)
    return make_dataset(
        f"scenes of {name}", splits["train"], splits["validation"], splits["test"],
        target_vocabulary=known, target_others=others,
        split="scenes are made; no combination of classes and relation is in two splits",
    )  # fmt: skip


def sentence_of(form: str, labels: tuple[int, ...]) -> str:
    """Returns the sentence that describes pictures of these classes in a form of the grammar."""
    names = [number_in_words(label) for label in labels]
    return GRAMMAR[form].format(*(f"{'an' if n[0] in 'aeiu' else 'a'} {n}" for n in names))


def _split_combinations(
    num_classes: int, random: np.random.RandomState
) -> dict[str, list[np.ndarray]]:
    """Returns the combinations of each split, by form: rows of classes."""
    splits: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for text in GRAMMAR.values():
        product = np.array(list(itertools.product(range(num_classes), repeat=text.count("{}"))))
        rest = product[random.permutation(len(product))]
        for split, share in HELD_OUT.items():
            count = max(1, round(share * len(product)))
            splits[split].append(rest[:count])
            rest = rest[count:]
        splits["train"].append(rest)
    return splits


def _shrink(pictures_Nss: np.ndarray, shrink: int) -> np.ndarray:
    """Returns smaller pictures, whose pixels are means over squares."""
    if shrink == 1:
        return pictures_Nss
    count, side, _ = pictures_Nss.shape
    squares = pictures_Nss.reshape(count, side // shrink, shrink, side // shrink, shrink)
    return np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)


def _make_scenes(
    pictures_Nss: np.ndarray,
    by_class: list[np.ndarray],
    combinations: list[np.ndarray],
    count: int,
    random: np.random.RandomState,
) -> tuple[np.ndarray, list[list[str]]]:
    """Returns `count` scenes of a split, uint8 [N,2s,3s], and the symbols of their sentences."""
    side = pictures_Nss.shape[1]
    scenes, sentences = np.zeros((count, 2 * side, 3 * side), np.uint8), []
    for scene in scenes:
        index = random.randint(len(GRAMMAR))
        form, allowed = list(GRAMMAR)[index], combinations[index]
        labels = tuple(allowed[random.randint(len(allowed))].tolist())
        layout = _random_layout(form, side, random)
        for label, (row, column, times) in zip(labels, layout, strict=True):
            picture = pictures_Nss[by_class[label][random.randint(len(by_class[label]))]]
            large = picture.repeat(times, axis=0).repeat(times, axis=1)
            scene[row : row + times * side, column : column + times * side] = large
        sentences.append(tokens.tokenize_sentence(sentence_of(form, labels), "words"))
    return scenes, sentences


def _random_layout(
    form: str, side: int, random: np.random.RandomState
) -> list[tuple[int, int, int]]:
    """Returns the row, the column and the enlargement of each picture in a scene [2s,3s].

    The pictures are moved at random, but so that the form stays visible.
    """

    def near(position: int, highest: int) -> int:
        return int(np.clip(position + random.randint(-(side // 4), side // 4 + 1), 0, highest))

    if form == "above":
        column = random.randint(2 * side + 1)
        return [(0, column, 1), (side, near(column, 2 * side), 1)]
    if form == "larger":
        row, left = random.randint(side + 1), bool(random.randint(2))
        return [(0, 0 if left else side, 2), (row, 2 * side if left else 0, 1)]
    if form == "pair":
        column = random.randint(side + 1)
        below = column + random.randint(side + 1)
        return [(0, column, 1), (0, column + side, 1), (side, below, 1)]
    row = random.randint(side + 1)
    rows = [row, near(row, side), near(row, side)]
    if form == "row":
        return [(r, index * side, 1) for index, r in enumerate(rows)]
    first = random.randint(side + 1)
    second = random.randint(first + side, 2 * side + 1)
    return [(rows[0], first, 1), (rows[1], second, 1)]
