"""Loggers: each receives what a run logs, in order, also of a run that was stopped."""

import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from trained_runs import TINY, run_tiny

import lstm_jax
from lstm_jax import Experiment, Logger
from lstm_jax.cli.parse import parse
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.report.import_ahead import ImportAhead
from lstm_jax.runs.loggers import make_loggers
from lstm_jax.runs.record import Record, read_run

pytestmark = pytest.mark.usefixtures("fast_compile")

# Twelve steps, evaluated at steps 4 and 8; checkpoints every five steps cut the segments further.
GRID = Experiment(seed=(0, 1), total_examples=96, **(TINY | {"num_evals": 3}))


class Heard(Logger):
    """Keeps what it hears, in order."""

    def __init__(self):
        self.calls = []

    def begin(self, record, directory):
        self.calls.append(("begin", len(record.results)))

    def evaluation(self, segment):
        assert len(segment.evaluation) == len(segment.members)
        self.calls.append(("evaluation", segment.start))

    def metrics(self, segment):
        self.calls.append(("metrics", segment.start, segment.rows()))

    def finish(self, results):
        self.calls.append(("finish", [result.member.seed for result in results]))

    def close(self):
        self.calls.append(("close",))


def names(logger):
    return [call[0] for call in logger.calls]


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """Returns an outcome, and what a logger has heard of it."""
    logger = Heard()
    return run_tiny(tmp_path_factory.mktemp("runs"), GRID, loggers=[logger]), logger


def test_a_logger_hears_of_a_run_in_order_and_has_the_rows_on_record(heard):
    outcome, logger = heard
    in_between = [("metrics", 0), ("evaluation", 4), ("metrics", 4), ("evaluation", 8)]
    assert [call[:2] for call in logger.calls] == [
        *(("begin", 0), *in_between, ("metrics", 8), ("finish", [0, 1]), ("close",))
    ]
    rows = [row for call in logger.calls if call[0] == "metrics" for row in call[2]]
    assert [row["loss"] for row in rows] == outcome.metrics["loss"].tolist()
    scores = [row["validation_accuracy"] for row in rows if row["step"] > 0]
    assert scores == outcome.metrics["validation_accuracy"].tolist()[2:]


def test_a_callback_that_answers_stop_saves_the_run_and_the_same_call_goes_on(heard, tmp_path):
    logger = Heard()
    stopped = run_tiny(tmp_path, GRID, callback=lambda segment: "stop", loggers=[logger])
    assert (len(stopped.members), names(logger)) == (0, ["begin", "metrics", "close"])
    outcome = run_tiny(tmp_path, GRID, loggers=[logger])
    assert [call[:2] for call in logger.calls[3:5]] == [("begin", 0), ("evaluation", 4)]
    sha = [result.parameters_sha256 for result in heard[0].members]
    assert [result.parameters_sha256 for result in outcome.members] == sha
    with pytest.raises(UserError, match="callback: answered 'Stop'; the only answer"):
        run_tiny(tmp_path / "other", GRID, callback=lambda segment: "Stop")


def test_a_callback_that_stops_at_the_last_step_leaves_its_members_finished(heard, tmp_path):
    def stop(segment):
        return "stop" if segment.stop == 12 else None

    assert len(run_tiny(tmp_path, GRID, callback=stop).members) == 2


def test_a_logger_that_raises_ends_the_run_saved(heard, tmp_path):
    logger = Heard()
    logger.metrics = lambda segment: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run_tiny(tmp_path, GRID, loggers=[logger])
    assert names(logger) == ["begin", "close"]
    steps = []
    run_tiny(tmp_path, GRID, callback=lambda segment: steps.append(segment.start))
    assert steps == [4, 8]


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("wandbb", r"'wandbb' is not one of tensorboard, wandb, mlflow, nor .*mean wandb"),
        ("none.py:Mine", "no such file"),
        (print, "is not a Logger"),
    ],
)
def test_what_is_no_logger_is_refused_in_one_line(tmp_path, logger, message):
    with pytest.raises(UserError, match=message):
        run_tiny(tmp_path, GRID, loggers=[logger])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentProblem, match=f"pip install {package}"):
        make_loggers([package])


class FakeWandB(ModuleType):
    """Stands for the package wandb: each run keeps its calls."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = []

    def init(self, **settings):
        run = SimpleNamespace(settings=settings, rows=[], summary={}, ended=0)
        run.log = lambda values, step: run.rows.append((step, values))
        run.finish = lambda: setattr(run, "ended", run.ended + 1)
        self.runs.append(run)
        return run


class FakeMLflow(ModuleType):
    """Stands for the package mlflow: one client, whose runs are dicts."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs, self.MlflowClient = {}, lambda: self

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return name

    def search_runs(self, experiments, query):
        return [run for run in self.runs.values() if f"'{run.tags['member']}'" in query]

    def create_run(self, experiment, tags, run_name):
        info = SimpleNamespace(run_id=run_name)
        run = SimpleNamespace(info=info, tags=tags, params={}, metrics={}, status=None)
        self.runs[run_name] = run
        return run

    def log_param(self, run, name, value):
        self.runs[run].params[name] = value

    def log_metric(self, run, name, value, step):
        self.runs[run].metrics[name, step] = value

    def set_terminated(self, run, status="FINISHED"):
        self.runs[run].status = status


def test_wandb_has_a_run_for_each_member_which_goes_on_under_its_name(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", wandb := FakeWandB())
    run_tiny(tmp_path, GRID, loggers=["wandb"], callback=lambda segment: "stop")
    outcome = run_tiny(tmp_path, GRID, loggers=["wandb"])
    assert len(wandb.runs) == 4
    for result, first, run in zip(outcome.members, wandb.runs[:2], wandb.runs[2:], strict=True):
        assert run.settings["id"] == first.settings["id"]
        assert run.settings["config"]["seed"] == result.member.seed
        assert run.settings["resume"] == "allow"
        logged = outcome.metrics["loss"][outcome.metrics["member"] == result.member.digest]
        assert [values["loss"] for _, values in [*first.rows, *run.rows]] == logged.tolist()
        assert [step for step, values in run.rows if "validation_loss" in values] == [4, 8]
        assert run.summary["test_accuracy"] == result.test_metric
        assert (first.ended, run.ended) == (1, 1)


def test_mlflow_has_a_run_for_each_member_which_goes_on(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", mlflow := FakeMLflow())
    run_tiny(tmp_path, GRID, loggers=["mlflow"], callback=lambda segment: "stop")
    assert [run.status for run in mlflow.runs.values()] == ["KILLED"] * 2
    outcome = run_tiny(tmp_path, GRID, loggers=["mlflow"])
    assert [run.status for run in mlflow.runs.values()] == ["FINISHED"] * 2
    for result, run in zip(outcome.members, mlflow.runs.values(), strict=True):
        assert run.params["seed"] == result.member.seed
        logged = outcome.metrics["loss"][outcome.metrics["member"] == result.member.digest]
        assert [run.metrics["loss", step] for step in (0, 4, 8)] == logged.tolist()
        assert np.isfinite(run.metrics["validation_loss", 8])
        assert run.metrics["test_accuracy", 12] == result.test_metric


def test_a_name_of_a_logger_is_a_class_or_an_instance_in_a_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from lstm_jax import Logger\nclass Mine(Logger): pass\nready = Mine()\n"
    )
    assert [type(each).__name__ for each in make_loggers(["mine.py:Mine", "mine.py:ready"])] == [
        *("Mine", "Mine")
    ]
    with pytest.raises(UserError, match=r"mine\.py has no logger 'Other'; there are Mine, ready"):
        lstm_jax.run(GRID, loggers=["mine.py:Other"])


def test_an_error_in_the_file_of_a_logger_is_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from lstm_jax import Logger\nclass Mine(Logger):\n def begin(self, *_): 1 / 0\n"
    )
    with pytest.raises(UserError, match=r"^mine\.py, line 3: ZeroDivisionError: division by zero"):
        run_tiny(tmp_path, GRID, loggers=["mine.py:Mine"])


def test_the_modules_of_the_page_are_imported_while_a_run_trains(heard, monkeypatch):
    outcome, _ = heard
    record, asked = read_run(outcome.directory), []

    def import_module(name):
        asked.append(name)
        raise ImportError("no Matplotlib")

    monkeypatch.setattr("lstm_jax.report.import_ahead.import_module", import_module)
    ImportAhead().begin(record, outcome.directory)
    assert not asked  # nothing is left to train
    threads = {*threading.enumerate()}
    ImportAhead().begin(Record("new", record.study), outcome.directory)
    for thread in {*threading.enumerate()} - threads:
        thread.join()
    assert asked == ["lstm_jax.report.page"]  # and the error is left to the import that needs it


@pytest.mark.parametrize(
    ("words", "num_ahead"), [([], 1), (["--no-report"], 0), (["--shard", "1/2"], 0)]
)
def test_only_a_run_that_writes_a_report_imports_it(words, num_ahead, monkeypatch):
    given = []

    def run(*_, loggers, **__):
        given.extend(loggers)
        raise UserError("enough")

    monkeypatch.setattr("lstm_jax.api.run", run)
    command = parse(["run", "digits", "--seed", "0", "1", *words])
    with pytest.raises(UserError, match="enough"):
        command.run(None)
    assert len(given) == num_ahead
