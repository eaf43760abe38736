"""Scenes with a sentence each: pictures of an image set put together by a small grammar.

    a three beside a seven                  the three on the left
    a three above an eight
    a three larger than a seven             twice as large, on either side
    a three beside a seven beside a two     from left to right
    a three beside a seven above a two      the two below both

The pictures are those of the image set; scenes and sentences are made. A combination, such as
(above, three, eight), is in one split alone, and so is a picture.

Axes: N scenes, s rows and columns of a picture, C classes.
"""

from __future__ import annotations

import itertools

import numpy as np

from lstm_jax.data import images, tokens
from lstm_jax.data.dataset import Arrays, Dataset, Say, make_dataset
from lstm_jax.data.dates import written
from lstm_jax.errors import UserError

GRAMMAR = {
    "beside": "{} beside {}",
    "above": "{} above {}",
    "larger": "{} larger than {}",
    "row": "{} beside {} beside {}",
    "pair": "{} beside {} above {}",
}
HELD_OUT = {"validation": 0.1, "test": 0.15}  # shares of the combinations of each form
SCENES = {"validation": 1_000, "test": 2_000}
MOST_CLASSES = 50  # three of them then make 125,000 combinations

Places = list[tuple[int, int, int]]  # of each picture: row, column, enlarged so many times


def load(name: str, count: int, shrink: int, say: Say) -> Dataset:
    """Returns `scenes`, uint8 [N,2s,3s], their sentences `target`, int32 [N,W], and
    `target_lengths`; `count` of them in training.

    Raises UserError for an image set of which no scenes can be made; see also `images.load`.
    """
    found = images.load(name, say)
    classes, (rows, columns) = found.metadata["num_classes"], found.metadata["shapes"]["images"]
    if rows != columns or classes > MOST_CLASSES:
        raise UserError(
            f"task.dataset: scenes are of square grey pictures of at most {MOST_CLASSES} classes; "
            f"{name} has {rows} x {columns}, {classes} classes"
        )
    if rows % shrink:
        raise UserError(f"task.shrink: {shrink} does not divide the {rows} rows of a picture")
    random = np.random.RandomState(0)  # its streams are frozen
    allowed = _apart(classes, random)
    said, splits = {}, {}
    for split, sources in (
        ("train", found.train), ("validation", found.validation), ("test", found.test)
    ):  # fmt: skip
        by_class = [np.flatnonzero(sources["labels"] == label) for label in range(classes)]
        if missing := [label for label in range(classes) if not len(by_class[label])]:
            raise UserError(f"task.dataset: {name} has no picture of class {missing[0]} in {split}")
        pictures = _smaller(sources["images"], shrink)
        size = SCENES.get(split, count)
        splits[split], said[split] = _scenes(pictures, by_class, allowed[split], size, random)
    known, others = tokens.sentence_vocabulary(said, 10_000)
    width = 1 + max(len(sentence) for found in said.values() for sentence in found)
    for split, arrays in splits.items():
        arrays["target"] = tokens.encode_sentences(said[split], known, others, width, end=True)
        arrays["target_lengths"] = np.array([len(s) + 1 for s in said[split]], np.int32)
    return make_dataset(
        f"scenes of {name}", splits["train"], splits["validation"], splits["test"],
        target_vocabulary=known, target_others=others,
        split="scenes are made; no combination of classes and relation is in two splits",
    )  # fmt: skip


def sentence_of(form: str, labels: tuple[int, ...]) -> str:
    """Returns what is said of pictures of these classes in a form of the grammar."""
    named = [written(label) for label in labels]
    return GRAMMAR[form].format(*(f"{'an' if n[0] in 'aeiu' else 'a'} {n}" for n in named))


def _apart(classes: int, random: np.random.RandomState) -> dict[str, list[np.ndarray]]:
    """The combinations of each split, by form: rows of classes."""
    found: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for text in GRAMMAR.values():
        all_of_them = np.array(list(itertools.product(range(classes), repeat=text.count("{}"))))
        mixed = all_of_them[random.permutation(len(all_of_them))]
        for split, share in HELD_OUT.items():
            taken = max(1, round(share * len(all_of_them)))
            found[split].append(mixed[:taken])
            mixed = mixed[taken:]
        found["train"].append(mixed)
    return found


def _smaller(pictures_Nss: np.ndarray, shrink: int) -> np.ndarray:
    """Pictures of means over squares."""
    if shrink == 1:
        return pictures_Nss
    count, side, _ = pictures_Nss.shape
    squares = pictures_Nss.reshape(count, side // shrink, shrink, side // shrink, shrink)
    return np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)


def _scenes(
    pictures_Nss: np.ndarray,
    by_class: list[np.ndarray],
    allowed: list[np.ndarray],
    count: int,
    random: np.random.RandomState,
) -> tuple[Arrays, list[list[str]]]:
    """So many scenes of a split, and what is said of each."""
    side = pictures_Nss.shape[1]
    scenes, said = np.zeros((count, 2 * side, 3 * side), np.uint8), []
    for scene in scenes:
        index = random.randint(len(GRAMMAR))
        form, combinations = list(GRAMMAR)[index], allowed[index]
        labels = tuple(combinations[random.randint(len(combinations))].tolist())
        places = _places(form, side, random)
        for label, (row, column, times) in zip(labels, places, strict=True):
            picture = pictures_Nss[by_class[label][random.randint(len(by_class[label]))]]
            large = picture.repeat(times, axis=0).repeat(times, axis=1)
            scene[row : row + times * side, column : column + times * side] = large
        said.append(tokens.tokenize_sentence(sentence_of(form, labels), "words"))
    return {"scenes": scenes}, said


def _places(form: str, side: int, random: np.random.RandomState) -> Places:
    """Where the pictures of a form lie in a scene of 2s rows and 3s columns: moved at random, but
    so that the form is seen.
    """

    def near(place: int, most: int) -> int:
        return int(np.clip(place + random.randint(-(side // 4), side // 4 + 1), 0, most))

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
        return [(r, place * side, 1) for place, r in enumerate(rows)]
    first = random.randint(side + 1)
    second = random.randint(first + side, 2 * side + 1)
    return [(rows[0], first, 1), (rows[1], second, 1)]
