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
    imports, run = (IMPORT_ONNX, RUN_ONNX) if onnx else (IMPORT_STABLEHLO, RUN_STABLEHLO)
    words = MAX_WORDS.get(form)
    start = START.replace("WRONG", f"not 1 < len(sys.argv) < {words + 2}" if words else NO_WORDS)
    return "\n\n".join([head + imports, STOP, start + run, *FORMS[form]])


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
    "texts": ["os", "re", "unicodedata"],
    "series": ["csv", "datetime", "io", "re"],
    "sentences": ["os", "re", "unicodedata"],
}

# How many inputs a form reads at most. A form that is not listed reads any number of them.
MAX_WORDS = {"images": 1, "scenes": 1, "arrays": 1, "series": 1, "beginnings": 2}
NO_WORDS = "len(sys.argv) == 1"

IMPORT_ONNX = """import numpy as np
import onnxruntime
"""

IMPORT_STABLEHLO = """import jax
import jax.export
import numpy as np
"""

STOP = """def stop(message):
    print(message, file=sys.stderr)
    sys.exit(2)  # the code of a mistake of the user, as that of `lstm-jax predict`
"""

START = """if WRONG:
    stop(__doc__)
folder = Path(__file__).parent
known = json.loads((folder / "model.json").read_text(encoding="utf-8"))
"""

RUN_ONNX = """\
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def model(*arrays):
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays)))[0]
"""

RUN_STABLEHLO = """\
call = jax.jit(jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).call)


def model(*arrays):
    dtypes = [each["dtype"] for each in known["inputs"].values()]
    pairs = zip(arrays, dtypes)  # symbols may have fewer bytes than int32
    return np.asarray(call(*(a.astype(d) if a.dtype == np.int32 else a for a, d in pairs)))
"""

# Two forms are classifiers. The keys of all answers are those of `predict --json`.
PRINT_CLASSES = """    best = known["classes"][int(row.argmax())]
    probabilities = {c: round(float(p), 6) for c, p in zip(known["classes"], row)}
    print(json.dumps({"KEY": best, "probabilities": probabilities}, ensure_ascii=False))
"""

# Images and scenes.
READ_IMAGES = """try:
    with open(sys.argv[1], "rb") as file:  # as numpy.save writes it: uint8, one image or several
        images = np.load(file)
except OSError as error:
    stop(error)
except (EOFError, ValueError, zipfile.BadZipFile):
    stop(f"{sys.argv[1]} is no array as numpy.save writes it; `lstm-jax predict` reads pictures")
shape = known["inputs"]["NAME"]["shape"][1:]
if not isinstance(images, np.ndarray):
    stop(f"{sys.argv[1]} holds several arrays; save one with numpy.save")
images = images[None] if images.ndim == 2 else images
if images.dtype != np.uint8 or list(images.shape[1:]) != shape:
    stop(f"images are {images.dtype} {images.shape}; this model reads uint8 {['n', *shape]}")
"""

# Words with the combining marks behind their letters.
WORDS = """codes = *range(0x300, 0x20000), *range(0xE0100, 0xE01F0)
marks = "".join(c for c in map(chr, codes) if unicodedata.category(c)[0] == "M")
pattern = PATTERN
word = re.compile(pattern.replace("M", f"[{marks}\\u200c\\u200d]*"))


def lower(text):
    return text.replace("\\u0130", "i").lower()


for text in sys.argv[1:]:
    if text == "-" or os.path.isfile(text):
        stop(f"{text} is no text; give the texts themselves, each in quotes")
"""

TEXTS = """number = {symbol: i for i, symbol in enumerate(known["vocabulary"])}
length = known["inputs"]["symbols"]["time_steps"]
for text in sys.argv[1:]:
    text = unicodedata.normalize("NFC", text)
    by_words = known["task_fields"]["units"] == "words"
    tokens = word.findall(lower(text)) if by_words else list(" ".join(text.split()))
    numbers = [number.get(token, number["<unknown>"]) for token in tokens[-length:]]
    if not numbers:
        stop(f"{text!r} has no token")
    symbols = np.zeros((1, length), np.int32)
    symbols[0, : len(numbers)] = numbers
    row = model(symbols, np.array([len(numbers)], np.int32))[0]
"""

SERIES = """# A table with a header line, without gaps and missing values.
columns, fields = known["columns"], known["task_fields"]
time, path = known.get("time", {}).get("column"), sys.argv[1]
rows_of, times_of = {}, {}


def number(cell):
    # A finite number with the point and the thousands of the training data.
    whole, point, fraction = cell.strip().partition(fields["decimal"])
    if fields["thousands"] and fields["thousands"] in whole:
        if not re.fullmatch(rf"[+-]?\\d{{1,3}}({re.escape(fields['thousands'])}\\d{{3}})+", whole):
            raise ValueError
        whole = whole.replace(fields["thousands"], "")
    if "_" in cell or (fields["decimal"] != "." and "." in whole + fraction):
        raise ValueError
    if not np.isfinite(value := float(f"{whole}.{fraction}" if point else whole)):
        raise ValueError  # ONNX Runtime may answer NaN with a number
    return value


def moment(cell):
    # A number or an ISO date, to be compared with others; None for another form.
    for read in (float, datetime.datetime.fromisoformat):
        try:
            return read(cell.strip())
        except (AttributeError, ValueError):
            pass


try:
    text = Path(path).read_text(encoding=fields["encoding"] or "utf-8-sig")
except (OSError, ValueError) as error:
    stop(f"{path}: {error}")
delimiter = max(",;\\t|", key=text.partition("\\n")[0].count)
table = csv.DictReader(io.StringIO(text), delimiter=delimiter)
for column in filter(None, [*columns, fields["series"], fields["time"]]):
    if column not in (table.fieldnames or []):
        stop(f"no column {column!r}; the first line has {table.fieldnames}, cut at {delimiter!r}")
for row in table:
    name = row[fields["series"]] if fields["series"] else ""
    if None in row or None in row.values():
        stop(f"line {table.line_num} has not as many cells as the first line, cut at {delimiter!r}")
    try:
        numbers = [number(row[column]) for column in columns]
    except ValueError:
        stop(f"line {table.line_num}: a value of {', '.join(columns)} is no finite number")
    if fields["series"] and name not in known["series"]:
        stop(f"line {table.line_num}: the model was not trained on the series {name!r}")
    rows_of.setdefault(name, []).append(numbers)
    times_of.setdefault(name, []).append(moment(row.get(time)))
if not rows_of:
    stop(f"{path} has no rows")
for name, times in times_of.items() if time else ():
    try:
        if times[0] > times[-1] and times == sorted(times, reverse=True):
            print(f"{path}: column {time} has the newest row first; it is turned", file=sys.stderr)
            times.reverse()
            rows_of[name].reverse()
        rises = all(before < after for before, after in zip(times, times[1:]))
    except TypeError:  # other forms than numbers and ISO dates, or no such column
        print(f"column {time}: cannot tell whether the oldest row is first", file=sys.stderr)
        break
    if not rises and fields["time"]:
        stop(f"column {time}: the times of {name or 'the rows'} do not rise; sort the rows by time")
    if not rises:  # nobody named this column
        print(f"column {time} does not rise; rows are read in their order", file=sys.stderr)
for name, rows in rows_of.items():
    if len(rows) < fields["window"]:
        stop(f"{len(rows)} rows{name and ' of ' + name} are fewer than the {fields['window']} read")
    x = np.array([rows[-fields["window"] :]], np.float32)
    series = [np.array([known["series"].index(name)], np.int32)] if name else []
    (values,) = model(x, *series)
    answer = {"target": known["target"], "forecast": [float(f"{value:.9g}") for value in values]}
    print(json.dumps({"series": name, **answer} if name else answer, ensure_ascii=False))
"""

BEGINNINGS = """text, count = sys.argv[1].encode(), (*sys.argv, "50")[2]
if not text or not count.isdecimal():
    stop("give one character or more to write on from, and a number of bytes")
for _ in range(int(count)):
    length = 1 << len(text).bit_length()  # a power of two, so that few programs are compiled
    symbols = np.zeros((1, length + 1), np.int32)
    symbols[0, : len(text)] = list(text)
    text += bytes([int(model(symbols)[0, len(text) - 1].argmax())])  # the most probable byte
written = text[len(sys.argv[1].encode()) :].decode(errors="replace")
print(json.dumps({"beginning": sys.argv[1], "written": written}, ensure_ascii=False))
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
    print(json.dumps({"KEY": text, "certainty": certainty}, ensure_ascii=False))
"""

SENTENCES = """number = {symbol: i for i, symbol in enumerate(known["source_vocabulary"])}
length, fields = known["inputs"]["source"]["time_steps"], known["task_fields"]
for text in sys.argv[1:]:
    text = unicodedata.normalize("NFC", text)
    text = " ".join((lower(text) if fields["lowercase"] else text).split())
    tokens = word.findall(f" {text}") if fields["units"] == "words" else list(text)
    if not 0 < len(tokens) <= length:
        stop(f"{len(tokens)} tokens; this model reads 1 to {length}")
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
        inputs = [np.atleast_1d(arrays[name]) for name in known["inputs"]]
except OSError as error:
    stop(error)
except (EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile):
    names = ", ".join(known["inputs"])
    stop(f"{sys.argv[1]} does not hold the arrays {names} as numpy.savez writes them")
for i, (name, wanted) in enumerate(known["inputs"].items()):
    array, shape = inputs[i], [len(inputs[0]), *wanted["shape"][1:]]
    fits = len(shape) == array.ndim and np.can_cast(array.dtype, wanted["dtype"], "same_kind")
    if not fits or any(isinstance(w, int) and w != s for w, s in zip(shape, array.shape)):
        stop(f"{name} is {array.dtype} {array.shape}; this model reads {wanted}")
    low, high = array.min(initial=0), array.max(initial=0)
    if "symbols" in wanted and not 0 <= low <= high < wanted["symbols"]:
        stop(f"{name} has numbers from {low} to {high}; this model reads {wanted}")
    inputs[i] = array.astype(wanted["dtype"])
print(json.dumps(model(*inputs).tolist()))
"""

# The texts of each form, with two empty lines between them.
FORMS = {
    "images": [
        READ_IMAGES.replace("NAME", "images")
        + "for row in model(images):\n"
        + PRINT_CLASSES.replace("KEY", "class")
    ],
    "texts": [
        WORDS.replace("PATTERN", repr(TEXT_WORD)),
        TEXTS + PRINT_CLASSES.replace("KEY", "label"),
    ],
    "series": [SERIES],
    "beginnings": [BEGINNINGS],
    "sentences": [
        WORDS.replace("PATTERN", repr(SENTENCE_WORD)),
        WRITE.replace("KEY", "target"),
        SENTENCES,
    ],
    "scenes": [WRITE.replace("KEY", "caption"), READ_IMAGES.replace("NAME", "scenes") + SCENES],
    "arrays": [ARRAYS],
}
