"""The program `use.py` beside an exported model. It answers raw inputs without this package.

It has two parts: how the model is run, by ONNX Runtime or by JAX, and how its inputs are read: one
text for each form of input, which follows the functions of `predict/` and `data/tokens.py`.
"""

from __future__ import annotations

from typing import Any

from lstm_jax.data.tokens import SENTENCE_WORD, TEXT_WORD
from lstm_jax.predict.trained import TrainedModel
from lstm_jax.tasks.captions import Captions
from lstm_jax.tasks.forecast import Forecast
from lstm_jax.tasks.images import Images
from lstm_jax.tasks.language import Language
from lstm_jax.tasks.text import Text
from lstm_jax.tasks.translation import Translation


def use_file(trained: TrainedModel, inputs: dict[str, Any], *, onnx: bool) -> str:
    """Returns the text of `use.py`.

    `inputs` are those of `model.json`. `onnx` says that `model.onnx` is there; without it the
    program runs `model.stablehlo`.
    """
    form = _form(trained, inputs)
    needs = "onnxruntime and numpy" if onnx else "jax, flatbuffers and numpy"
    head = HEAD.replace("TASK", trained.member.task.name).replace("NEEDS", needs)
    head = head.replace("USAGE", USAGES[form])
    modules = sorted(["json", "sys", *MODULES.get(form, [])])
    head = head.replace("MODULES", "\n".join(f"import {name}" for name in modules))
    return "\n\n".join([head + (RUN_ONNX if onnx else RUN_STABLEHLO), *FORMS[form]])


def _form(trained: TrainedModel, inputs: dict[str, Any]) -> str:
    """Returns the form of the input; `arrays` where nothing here reads the task's raw inputs."""
    several = ["series_number"] if "series_number" in inputs else []
    forms = {
        Images: ("images", ["images"]),
        Text: ("texts", ["symbols", "lengths"]),
        Forecast: ("series", ["x", *several]),
        Language: ("beginnings", ["symbols"]),
        Translation: ("sentences", ["source", "source_lengths", "target"]),
        Captions: ("scenes", ["scenes", "target"]),
    }
    for task_class, (form, names) in forms.items():
        if isinstance(trained.member.task, task_class) and names == list(inputs):
            # What a model writes on becomes longer than any window of the data.
            is_fixed = form == "beginnings" and isinstance(inputs["symbols"]["shape"][1], int)
            return "arrays" if is_fixed else form
    return "arrays"


USAGES = {
    "images": "images.npy",
    "texts": "'a text' ['another']",
    "series": "rows.csv",
    "beginnings": "'the beginning of a text' [bytes to write]",
    "sentences": "'a sentence' ['another']",
    "scenes": "scenes.npy",
    "arrays": "arrays.npz",
}

HEAD = '''"""Answers by an exported model of the task TASK. It needs NEEDS.

    python use.py USAGE
"""

MODULES
from pathlib import Path

'''

MODULES = {
    "images": ["zipfile"],
    "scenes": ["zipfile"],
    "arrays": ["zipfile"],
    "texts": ["re", "unicodedata"],
    "series": ["csv", "datetime", "io"],
    "sentences": ["re", "unicodedata"],
}

RUN_ONNX = """import numpy as np
import onnxruntime

if len(sys.argv) == 1:
    sys.exit(__doc__)
folder = Path(__file__).parent
known = json.loads((folder / "model.json").read_text(encoding="utf-8"))
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def model(*arrays):
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays)))[0]
"""

RUN_STABLEHLO = """import jax
import jax.export
import numpy as np

if len(sys.argv) == 1:
    sys.exit(__doc__)
folder = Path(__file__).parent
known = json.loads((folder / "model.json").read_text(encoding="utf-8"))
call = jax.jit(jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).call)


def model(*arrays):
    dtypes = [each["dtype"] for each in known["inputs"].values()]
    pairs = zip(arrays, dtypes)  # symbols may have fewer bytes than int32
    return np.asarray(call(*(a.astype(d) if a.dtype == np.int32 else a for a, d in pairs)))
"""

# Two forms are classifiers.
PRINT_CLASSES = """    best = known["classes"][int(row.argmax())]
    probabilities = {c: round(float(p), 6) for c, p in zip(known["classes"], row)}
    print(json.dumps({"class": best, "probabilities": probabilities}, ensure_ascii=False))
"""

# Images and scenes.
READ_IMAGES = """try:
    with open(sys.argv[1], "rb") as file:  # as numpy.save writes it: uint8, one image or several
        images = np.load(file)
except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
    sys.exit(f"{sys.argv[1]}: {error}")
shape = known["inputs"]["NAME"]["shape"][1:]
if not isinstance(images, np.ndarray):
    sys.exit(f"{sys.argv[1]} holds several arrays; save one with numpy.save")
images = images[None] if images.ndim == 2 else images
if images.dtype != np.uint8 or list(images.shape[1:]) != shape:
    sys.exit(f"images are {images.dtype} {images.shape}; this model reads uint8 {['n', *shape]}")
"""

# Words with the combining marks behind their letters.
WORDS = """codes = *range(0x300, 0x20000), *range(0xE0100, 0xE01F0)
marks = "".join(c for c in map(chr, codes) if unicodedata.category(c)[0] == "M")
pattern = PATTERN
word = re.compile(pattern.replace("M", f"[{marks}\\u200c\\u200d]*"))


def lower(text):
    return text.replace("\\u0130", "i").lower()
"""

TEXTS = """number = {symbol: i for i, symbol in enumerate(known["vocabulary"])}
length = known["inputs"]["symbols"]["time_steps"]
for text in sys.argv[1:]:
    text = unicodedata.normalize("NFC", text)
    by_words = known["task_fields"]["units"] == "words"
    tokens = word.findall(lower(text)) if by_words else list(" ".join(text.split()))
    numbers = [number.get(token, number["<unknown>"]) for token in tokens[-length:]]
    if not numbers:
        sys.exit(f"{text!r} has no token")
    symbols = np.zeros((1, length), np.int32)
    symbols[0, : len(numbers)] = numbers
    row = model(symbols, np.array([len(numbers)], np.int32))[0]
"""

SERIES = """# A table with a header line, the oldest row first, without gaps and missing values.
columns, fields = known["columns"], known["task_fields"]
time = known.get("time", {}).get("column")
rows_of, times_of = {}, {}


def moment(cell):
    # A number or an ISO date, to be compared with others; None for another form.
    for read in (float, datetime.datetime.fromisoformat):
        try:
            return read(cell.strip())
        except (AttributeError, ValueError):
            pass


try:
    text = Path(sys.argv[1]).read_text(encoding=fields["encoding"] or "utf-8-sig")
except (OSError, ValueError) as error:
    sys.exit(f"{sys.argv[1]}: {error}")
table = csv.DictReader(io.StringIO(text))
for column in [*columns, *([fields["series"]] if fields["series"] else [])]:
    if column not in (table.fieldnames or []):
        sys.exit(f"no column {column!r}; the first line has {table.fieldnames}, cut at commas")
for row in table:
    name = row[fields["series"]] if fields["series"] else ""
    try:
        numbers = [float(row[column]) for column in columns]
    except (TypeError, ValueError):  # an empty cell, or a line that is too short
        numbers = [np.nan]
    if not np.isfinite(numbers).all():  # ONNX Runtime may answer NaN with a number
        sys.exit(f"line {table.line_num}: a value of {', '.join(columns)} is no finite number")
    if fields["series"] and name not in known["series"]:
        sys.exit(f"line {table.line_num}: the model was not trained on the series {name!r}")
    rows_of.setdefault(name, []).append(numbers)
    times_of.setdefault(name, []).append(moment(row.get(time)))
if not rows_of:
    sys.exit(f"{sys.argv[1]} has no rows")
for name, times in times_of.items() if time else ():
    try:
        rises = all(before < after for before, after in zip(times, times[1:]))
    except TypeError:  # other forms than numbers and ISO dates, or no such column
        print(f"column {time}: cannot tell whether the oldest row is first", file=sys.stderr)
        break
    if not rises:
        sys.exit(f"column {time}: the times of {name or 'the rows'} do not rise; oldest row first")
for name, rows in rows_of.items():
    if len(rows) < fields["window"]:
        sys.exit(f"{len(rows)} rows {name} are fewer than the {fields['window']} that are read")
    x = np.array([rows[-fields["window"] :]], np.float32)
    number = np.array([known["series"].index(name)], np.int32) if name else None
    (values,) = model(x) if number is None else model(x, number)
    answer = {"target": known["target"], "forecast": [float(f"{value:.7g}") for value in values]}
    print(json.dumps({"series": name, **answer} if name else answer, ensure_ascii=False))
"""

BEGINNINGS = """text = sys.argv[1].encode()
for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 50):
    length = 1 << len(text).bit_length()  # a power of two, so that few programs are compiled
    symbols = np.zeros((1, length + 1), np.int32)
    symbols[0, : len(text)] = list(text)
    text += bytes([int(model(symbols)[0, len(text) - 1].argmax())])  # the most probable byte
print(json.dumps({"text": text.decode(errors="replace")}, ensure_ascii=False))
"""

# The greedy decoder of sentences and captions. Padding, begin and unknown are never written.
WRITE = """def write(*source):
    length = known["inputs"]["target"]["time_steps"]
    target, log_probability = np.zeros((1, length), np.int32), 0.0
    for s in range(length):
        logits = model(*source, target)[0, s].astype(np.float64)
        log_probabilities = logits - logits.max()
        log_probabilities -= np.log(np.exp(log_probabilities).sum())
        log_probabilities[[0, 1, 3]] = -np.inf
        target[0, s] = log_probabilities.argmax()
        log_probability += log_probabilities.max()
        if target[0, s] == 2:  # the end
            break
    text = "".join(known["target_vocabulary"][i] for i in target[0] if i > 3).strip()
    certainty = round(float(np.exp(log_probability / (s + 1))), 6)
    print(json.dumps({"target": text, "certainty": certainty}, ensure_ascii=False))
"""

SENTENCES = """number = {symbol: i for i, symbol in enumerate(known["source_vocabulary"])}
length, fields = known["inputs"]["source"]["time_steps"], known["task_fields"]
for text in sys.argv[1:]:
    text = unicodedata.normalize("NFC", text)
    text = " ".join((lower(text) if fields["lowercase"] else text).split())
    tokens = word.findall(f" {text}") if fields["units"] == "words" else list(text)
    if not 0 < len(tokens) <= length:
        sys.exit(f"{len(tokens)} tokens; this model reads 1 to {length}")
    source = np.zeros((1, length), np.int32)
    source[0, : len(tokens)] = [number.get(token, number["<unknown>"]) for token in tokens]
    write(source, np.array([len(tokens)], np.int32))
"""

SCENES = """for image in images:
    write(image[None])
"""

ARRAYS = """# The arrays that model.json names under "inputs", as numpy.savez writes them.
try:
    with open(sys.argv[1], "rb") as file:
        arrays = np.load(file)
        inputs = [arrays[name] for name in known["inputs"]]
except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
    sys.exit(f"{sys.argv[1]}: {error}; it needs the arrays {', '.join(known['inputs'])}")
print(json.dumps(model(*inputs).tolist()))
"""

# The texts of each form, with two empty lines between them.
FORMS = {
    "images": [
        READ_IMAGES.replace("NAME", "images") + "for row in model(images):\n" + PRINT_CLASSES
    ],
    "texts": [WORDS.replace("PATTERN", repr(TEXT_WORD)), TEXTS + PRINT_CLASSES],
    "series": [SERIES],
    "beginnings": [BEGINNINGS],
    "sentences": [WORDS.replace("PATTERN", repr(SENTENCE_WORD)), WRITE, SENTENCES],
    "scenes": [WRITE, READ_IMAGES.replace("NAME", "scenes") + SCENES],
    "arrays": [ARRAYS],
}
