"""A task's fields that decide what is asked are conditions: results are told apart by them."""

import csv
from dataclasses import replace

import pytest
from trained_runs import made_up_record, quiet

from lstm_jax import Adding, Experiment, Images
from lstm_jax.config.experiment_values import all_field_specs
from lstm_jax.config.search import Search, Study
from lstm_jax.errors import EnvironmentProblem, UserError
from lstm_jax.predict.trained import load_member
from lstm_jax.report.compare import compare
from lstm_jax.report.figures.settings import settings_figures
from lstm_jax.report.summary import summary
from lstm_jax.runs.progress import show_results
from lstm_jax.runs.run_study import write_results
from lstm_jax.runs.statistics import chosen, lead_on_validation, summarise
from lstm_jax.tasks import TASKS, get_task

# The metric of a member is its number in this grid, and less is better.
GRID = Experiment(task=Adding(length=(10, 20)), learning_rate=(1e-3, 1e-2), seed=(0, 1, 2))
SETTINGS = {
    *("attention", "columns", "label_smoothing", "max_length", "max_vocabulary", "min_count"),
    *("period", "pooling", "shift", "target_dropout", "units", "window", "word_dropout"),
}


def reversed_record(experiment=GRID):
    """Returns a record in which the last learning rate is the best one of length 20 alone."""
    record = made_up_record(experiment)
    for digest, result in record.results.items():
        if result.member.task.length == 20:
            value = {"loss": 1.0, "squared_error": 13 - result.validation_metric}
            record.results[digest] = replace(result, validation=value, test=value)
    return record


def test_each_condition_has_its_own_best_setting_and_lead():
    results = reversed_record().results.values()
    assert [s.setting.task.length for s in summarise(results)] == [10, 10, 20, 20]
    assert [s.validation.mean for s in summarise(results)] == [1, 7, 3, 9]
    best = [s.setting for s in chosen(summarise(results))]
    assert [(s.task.length, s.learning_rate) for s in best] == [(10, 1e-3), (20, 1e-2)]
    first, second = chosen(summarise(results))
    assert lead_on_validation(first, second) is None
    assert lead_on_validation(*summarise(results)[:2]).n == 3


def test_the_terminal_shows_a_choice_for_each_condition():
    console, record = quiet(), reversed_record()
    show_results(console, record.study, [*record.results.values()], [], [], lambda _: 0.5)
    lines = console.file.getvalue().splitlines()
    chosen_lines = [line for line in lines if "chosen on validation" in line]
    assert chosen_lines[0].startswith("length 10: chosen on validation: learning rate 0.001; its")
    assert chosen_lines[1].startswith("length 20: chosen on validation: learning rate 0.01; its")
    assert sum("ahead of the next setting" in line for line in lines) == 2
    rows = [line.split()[:2] for line in lines if line.split()[:1] in (["10"], ["20"])]
    assert rows == [["10", "0.001"], ["10", "0.01"], ["20", "0.01"], ["20", "0.001"]]


def test_the_page_ranks_nothing_across_conditions():
    record = reversed_record()
    values = summary(record, [])
    assert [entry[:2] for entry in values["best"]] == [
        ("length 10", "learning rate 0.001"), ("length 20", "learning rate 0.01"),
    ]  # fmt: skip
    tests = [name for _, name in values["tiles"] if name.startswith("test")]
    assert len(tests) == 2
    assert all("length" in name for name in tests)
    elements = {each.name: each for each in settings_figures(record)}
    assert {"settings", "compared", "time"} == elements.keys()
    table = elements["compared"]
    assert table.header[0] == "length"
    assert [row[:3] for row in table.rows] == [["10", "0.001", "0.01"], ["20", "0.01", "0.001"]]


def test_settings_that_are_level_on_validation_are_counted_on_screen_and_on_the_page():
    record = made_up_record(GRID.replace({"learning_rate": (1e-4, 1e-3, 1e-2)}))
    for digest, result in record.results.items():
        if result.member.task.length == 20:
            value = {"loss": 1.0, "squared_error": float(result.member.seed)}
            record.results[digest] = replace(result, validation=value)
    console = quiet()
    show_results(console, record.study, [*record.results.values()], [], [], lambda _: 0.5)
    lines = console.file.getvalue().splitlines()
    (line,) = [line for line in lines if "tied with" in line]
    assert line.startswith("length 20: chosen on validation: learning rate 0.0001 (tied with 2 o")
    assert [line.split(":")[0] for line in lines if "ahead of" in line] == ["length 10"]
    values = summary(record, [])
    names = [name for _, name, *_ in values["best"]]
    assert names == ["learning rate 0.0001", "learning rate 0.0001 (tied with 2 others)"]
    assert ["2 others on validation)" in each for each in values["verdicts"]] == [False, True]


def test_of_two_settings_and_a_condition_points_are_drawn_for_each_condition():
    values = {"hidden_size": (8, 16), "learning_rate": (1e-3, 1e-2, 1e-1), "seed": 0}
    figures = list(settings_figures(made_up_record(GRID.replace(values))))
    maps = [f.title for f in figures if " and " in f.title and "caption" in f._fields]
    assert all("length" in title for title in maps)
    points = [f.title for f in figures if "by learning rate" in f.title and " and " not in f.title]
    assert [title.rpartition(", ")[2] for title in points] == ["length 10", "length 20"]


@pytest.mark.parametrize(
    "search", [Search(halving=2), *(Search(method=m, trials=2) for m in ("random", "tpe"))]
)
def test_a_search_over_a_condition_is_refused_and_over_a_setting_it_is_not(search):
    with pytest.raises(UserError, match=r"task\.length decides what is asked"):
        Study(GRID, search)
    Study(Experiment(task=Images(dataset="digits", shift=(0, 1, 2)), learning_rate=1e-3), search)


def test_every_field_of_a_task_is_a_condition_unless_it_says_that_it_is_a_setting():
    fields = {
        (path.removeprefix("task."), spec.setting)
        for name in TASKS
        for path, spec in all_field_specs(Experiment(task=get_task(name)())).items()
        if path.startswith("task.")
    }
    of_some_tasks = {"length", "reading"}
    assert {name for name, setting in fields if setting} - of_some_tasks == SETTINGS
    assert {"dataset", "file", "target", "horizon", "delay", "reading", "length"} <= {
        name for name, setting in fields if not setting
    }


def test_runs_are_compared_condition_by_condition(tmp_path, monkeypatch):
    ours, theirs = GRID, GRID.replace({"learning_rate": 1e-4, "task.length": (20, 30)})
    other = GRID.replace({"task.length": 40})
    records = {}
    for experiment in (ours, theirs, other):
        directory = tmp_path / "adding" / experiment.digest
        records[directory] = reversed_record(experiment)
        records[directory].identities = {"i": {"data": "0" * 64}}
        monkeypatch.setattr("lstm_jax.report.compare.read_run", lambda path: records[path])
    console = quiet()
    compare([*records], console, tmp_path)
    lines = console.file.getvalue().splitlines()
    ahead = [line for line in lines if "is ahead of" in line]
    assert len(ahead) == 1
    assert ahead[0].startswith("length 20: ")
    assert [line for line in lines if "are not ranked: they answer different questions" in line]
    assert sum("validation squared error" in line and ": " in line for line in lines) >= 4


def test_results_csv_is_sorted_by_condition_and_load_names_the_others(tmp_path):
    record, said = reversed_record(), []
    write_results(tmp_path, record.results.values())
    with open(tmp_path / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["task.length"] for row in rows] == ["10"] * 6 + ["20"] * 6
    first = record.study.members()[0]
    with pytest.raises(EnvironmentProblem, match=f"no whole checkpoint of member {first.digest}"):
        load_member(record, tmp_path, None, said.append)
    assert said[0].startswith("note: this is the chosen member of length 10; give --member")
    assert "(length 20)" in said[0]
