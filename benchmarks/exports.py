"""Exported models in fresh environments beside `predict`, on the same raw inputs, for every task.

    python -m benchmarks.exports               # some minutes; prints a table in Markdown

It trains a small run of each task, exports it in each form, and makes a virtual environment for
each form, with the packages that the first lines of `use.py` name and no others. There `use.py`,
in a copy of the exported folder, answers the raw inputs. The table has the largest difference of a
number from `predict`; a class or a text that differs ends it with an error.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstm_jax
from lstm_jax import Experiment, Outcome
from lstm_jax.tasks import TASKS

NUM_EXAMPLES = 50  # of the test set, where the input is an array


class Case(NamedTuple):
    """A task of which a run is trained, and the raw inputs that it is asked."""

    shown: str  # the inputs in words
    values: Mapping[str, Any] = {}  # of the task
    words: tuple[str, ...] = ()  # the inputs as words of the command line
    array: str = ""  # or the array of the test set whose first examples are the input
    options: tuple[str, ...] = ()  # of `predict`
    more: tuple[str, ...] = ()  # further words for `use.py`, which mean the same
    onnx: bool = False  # whether ONNX has the operators


def cases(folder: Path) -> dict[str, Case]:
    """Returns a case for each task by name. Its files are written to the folder."""
    random, texts, series = np.random.default_rng(0), folder / "texts.tsv", folder / "series.csv"
    lines = [" ".join(random.choice(list("abcdefgh"), random.integers(1, 16))) for _ in range(900)]
    texts.write_text("".join(f"{line.count('a') > 1:d}\t{line}\n" for line in lines))
    rows = [
        f"{day},{place},{level + 5 * np.sin(i / 9) + random.normal():.3f},{i % 7}"
        for i, day in enumerate(np.datetime64("2020-01-01") + np.arange(400))
        for place, level in (("near", 20), ("far", 120))
    ]
    series.write_text("\n".join(["day,place,load,weekday", *rows]))
    columns = {"target": "load", "columns": "load,weekday", "series": "place", "time": "day"}
    loads = {"file": str(series), **columns, "window": 14, "horizon": 3}
    greedy = ("--length", "40", "--temperature", "0")
    made = {
        "images": Case(
            f"`.npy` of {NUM_EXAMPLES} images", {"dataset": "digits"}, array="images", onnx=True
        ),
        "text": Case("two texts", {"dataset": str(texts)}, ("a b A", "c d  Zebra"), onnx=True),
        "forecast": Case(
            "`.csv` of two series", loads, (str(series),), options=("--last",), onnx=True
        ),
        "language": Case("`def `", {}, ("def ",), options=greedy, more=("40",)),
        "translation": Case("a date in words", {}, ("the third of May 1999",)),
        "captions": Case(f"`.npy` of {NUM_EXAMPLES} scenes", {"num_scenes": 500}, array="scenes"),
    }
    arrays = Case(f"`.npz` of {NUM_EXAMPLES} examples")
    return {name: made.get(name, arrays) for name in TASKS}


@cache
def fresh_python(folder: Path, packages: str) -> str:
    """Returns the Python of a new environment with these packages, such as "jax and numpy"."""
    environment = folder / f"environment of {packages}".replace(" ", "_")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python, names = str(environment / "bin" / "python"), re.split(", | and ", packages)
    subprocess.run([python, "-m", "pip", "install", "-q", *names], check=True)
    return python


def printed_json(command: list[str], **options: Any) -> list[Any]:
    """Returns what a command prints as JSON, line by line. Raises RuntimeError where it fails."""
    ran = subprocess.run(command, capture_output=True, check=False, **options)
    if ran.returncode:
        raise RuntimeError(f"{command}: {ran.returncode}, {ran.stderr.decode()}")
    return [json.loads(line) for line in ran.stdout.splitlines()]


def numbers_and_texts(answer: Any) -> tuple[np.ndarray, list[str]]:
    """Returns the numbers of an answer of `predict` or `use.py`, and its classes or texts."""
    if isinstance(answer, list):  # outputs of the head
        return np.array(answer), []
    numbers: Any = next(
        filter(None, map(answer.get, ("probabilities", "forecast", "certainty"))), []
    )
    values = [*numbers.values()] if isinstance(numbers, dict) else np.atleast_1d(numbers)
    keys = "series", "class", "label", "target", "caption", "written"
    return np.array(values), [answer[key] for key in keys if key in answer]


def largest_difference(wanted: list[Any], answers: list[Any]) -> float:
    """Returns the largest difference of two numbers. Raises RuntimeError where a class or a text
    differs.
    """
    differences = [0.0]
    for one, other in zip(wanted, answers, strict=True):
        (numbers, texts), (other_numbers, other_texts) = (
            numbers_and_texts(one),
            numbers_and_texts(other),
        )
        if texts != other_texts:
            raise RuntimeError(f"`predict` answers {texts}, use.py {other_texts}")
        differences.extend(np.ravel(np.abs(numbers - other_numbers)))
    return max(differences)


def rows(name: str, case: Case, outcome: Outcome, folder: Path) -> Iterator[str]:
    """Asks a trained model, and yields a row of the table for each form of its export."""
    model, words, raw = outcome.load(), [*case.words], folder / f"{name}.raw"
    test: dict[str, Any] = {key: array[:NUM_EXAMPLES] for key, array in model.data().test.items()}
    predict = [sys.executable, "-m", "lstm_jax", "predict", str(outcome.directory), "--json"]
    if words:
        wanted = printed_json([*predict, *case.options, *words])
    else:
        with open(raw, "wb") as file:  # NumPy adds an ending to a name
            np.save(file, test[case.array]) if case.array else np.savez(file, **test)
        words = [str(raw)]
        from_array = partial(printed_json, [*predict, "-"], input=raw.read_bytes())
        wanted = from_array() if case.array else [model.predict(test).tolist()]
    for form in ("StableHLO", "ONNX")[: 1 + case.onnx]:
        alone = folder / f"{name} {form}"
        shutil.copytree(outcome.export(onnx=form == "ONNX"), alone)
        (packages,) = re.findall(r"It needs (.+)\.$", (alone / "use.py").read_text(), re.MULTILINE)
        python = fresh_python(folder, packages)
        answers = printed_json([python, "-I", str(alone / "use.py"), *words, *case.more])
        difference = largest_difference(wanted, answers)
        yield f"| {name} | {form} | {case.shown} | {f'{difference:.1e}' if difference else '0'} |"


def main() -> None:
    """Prints the table."""
    print("| task | form | input | largest difference |\n|---|---|---|---|")
    small = {"hidden_size": 32, "microbatches": 1, "num_evals": 1, "total_steps": 200}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, case in cases(folder).items():
            experiment = Experiment(task=TASKS[name](**case.values), **small)
            outcome = lstm_jax.run(experiment, name=name, runs_dir=folder, silent=True, index=False)
            for row in rows(name, case, outcome, folder):
                print(row, flush=True)


if __name__ == "__main__":
    main()
