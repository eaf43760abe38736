"""Small files of every form in docs/own-data.md, whose first lines that page shows."""

import numpy as np
from PIL import Image

from lstm_jax.data.mackey_glass import mackey_glass


def shapes(count=60):
    """Returns labels, and images of 4 x 4 pixels: a bar that lies or stands."""
    images = np.random.RandomState(0).randint(0, 60, (count, 4, 4)).astype(np.uint8)
    for i, image in enumerate(images):
        image[i // 2 % 4 if i % 2 else slice(None), slice(None) if i % 2 else i // 2 % 4] += 180
    return ["stands", "lies"] * (count // 2), images


def write_own_files(folder):
    """Writes all files into a folder."""
    labels, images = shapes()
    rows = [
        f"{label},{','.join(map(str, image.ravel()))}"
        for label, image in zip(labels, images, strict=True)
    ]
    header = "label," + ",".join(f"p{i}" for i in range(16))
    (folder / "shapes.csv").write_text("\n".join([header, *rows]))
    np.savez(folder / "shapes.npz", images=images, labels=np.array(labels))
    for i, (label, image) in enumerate(zip(labels, images, strict=True)):
        path = folder / "pictures" / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    words = ["dull", "great"]
    reviews = [f'A ""{words[i % 2]}"" film,\nreally {words[i % 2]} no. {i}' for i in range(80)]
    lines = [f'"{text}",{["bad", "good"][i % 2]}' for i, text in enumerate(reviews)]
    (folder / "reviews.csv").write_text("\n".join(["review,sentiment", *lines]))
    for i, text in enumerate(reviews):
        path = folder / "reviews" / ["bad", "good"][i % 2] / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    noms = ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"]
    pairs = [
        f"I have {a} {b}.\tJ'ai {c} {d}.\tCC-BY {a}"
        for a, c in zip(names, noms, strict=True)
        for b, d in zip(names, noms, strict=True)
    ]
    (folder / "pairs.tsv").write_text("\n".join(pairs))
    start, hour = np.datetime64("2024-03-01T00:00"), np.timedelta64(1, "h")
    hours = [start + i * hour for i in range(330) if not 100 <= i < 110]
    loads = 800 + 200 * mackey_glass(330)
    kinds = ["dry", "wet"]
    cells = [
        f"{time};{load:.1f};{kinds[i % 2]}".replace("T", " ").replace(".", ",")
        for i, (time, load) in enumerate(zip(hours, loads, strict=False))
    ]
    (folder / "load.csv").write_text("\n".join(["time;load;weather", *cells]))
    (folder / "book.txt").write_text("It was the best of times, it was the worst of times.\n" * 300)
