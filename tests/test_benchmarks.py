"""The benchmark's own arithmetic and protocol. No peer is needed, and no timing is asserted."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from trained_runs import TINY, made_up_record, quiet

from benchmarks import (
    compare,
    comparison_tables,
    costs,
    device,
    equal_terms,
    exports,
    lengths,
    numerics,
    process,
    table,
)
from benchmarks import comparison_figures as figures
from benchmarks.comparison_tables import DOCS, TABLES, YEARS, Score, read_scores, read_table
from benchmarks.registry import CEILING, ONE_CORE, OURS, Peer
from benchmarks.rounds import Turns, in_turn, measure
from benchmarks.table import Measured, disagreements, draw, ratios, remarks, spread
from benchmarks.task import (
    NUM_BATCHES,
    Case,
    flop,
    forget_plus_one,
    gates_in_order,
    load_task,
    make_case,
    make_weights,
    products,
    spans,
    weights_file,
)
from lstm_jax import Experiment, StateTracking, run
from lstm_jax.config.blocks import Plain, Residual
from lstm_jax.config.experiment_files import load_study
from lstm_jax.errors import UserError
from lstm_jax.runs.files import write_csv

HERE = str(Path(__file__).parent)
PAGE = (DOCS / "comparison.md").read_text()


def fake(name, function="steady", **options):
    # Replaces the path on which the parent's packages lie, so both are named.
    root = str(Path(HERE).parent)
    env = {"PYTHONPATH": f"{HERE}:{root}"}
    return Peer(name, f"fake_peers:{function}", env=env, **options)


@pytest.fixture
def folder(tmp_path):
    case = Case()
    images = np.zeros((NUM_BATCHES * case.batch_size, 28, 28), np.uint8)
    labels = np.zeros(len(images), np.int32)
    np.savez(tmp_path / "batches.npz", images=images, labels=labels)
    np.savez(tmp_path / weights_file(case), **make_weights(case, 0))
    return tmp_path


def run_peers(peers, folder, rounds=3, cores=1, case=None):
    turns = Turns(rounds, seconds=0.01)
    return measure(peers, case or Case(), folder, cores, turns, lambda line: None)


def test_the_products_of_a_step_are_those_of_the_fused_model():
    case = Case(hidden_size=128)
    forward, backward, gradient = products(case)
    assert forward[1:] == (128, 157, 512)
    assert forward.flop == 2 * 28 * 128 * 157 * 512
    assert backward[1:] == (128, 512, 128)
    assert gradient.flop == forward.flop  # the same sum, with batch and rows as the inner axis
    assert flop(case) == forward.flop + backward.flop + gradient.flop
    assert flop(make_case("forward", 128, cores=2)) == forward.flop


def test_gates_are_rearranged_and_the_forget_gate_gets_its_constant():
    bias = np.array([1.0, 2.0, 3.0, 4.0])  # i, j, f, o
    np.testing.assert_array_equal(gates_in_order(bias, "ifjo"), [1, 3, 2, 4])
    np.testing.assert_array_equal(forget_plus_one(bias, "ifjo"), [1, 4, 2, 4])


def test_first_weights_depend_on_nothing_but_case_and_seed():
    first, again, other = (make_weights(Case(), seed) for seed in (0, 0, 1))
    for name, value in first.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(first["lstm_kernel"], other["lstm_kernel"])


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (60, 70), (0, 200), (64, 64)])
def test_spans_repeat_the_kept_batches(start, stop):
    seen = [batch for span in spans(start, stop) for batch in range(span.start, span.stop)]
    assert seen == [step % NUM_BATCHES for step in range(start, stop)]


def test_ratios_are_taken_round_by_round():
    """A machine that halves its speed between rounds changes no ratio."""
    assert spread(ratios([10.0, 5.0, 20.0], [5.0, 2.5, 10.0])) == (2.0, 2.0, 2.0)
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_every_round_begins_with_another_peer():
    assert [in_turn(["a", "b", "c"], index)[0] for index in range(4)] == ["a", "b", "c", "a"]
    assert in_turn([], 3) == []


def row(peer, loss=0.5, rates=(100.0, 100.0), **options):
    return Measured(peer, loss=loss, rates=list(rates), **options)


def test_a_loss_that_differs_is_named():
    rows = [row(OURS), row("near", 0.50001), row("far", 0.502), row("nan", math.nan)]
    assert [line.split(":")[0] for line in disagreements(rows)] == ["far", "nan"]


def test_without_ours_losses_are_compared_with_their_median():
    rows = [row("a"), row("b"), row("c", 0.7), row(CEILING, 9.0, has_loss=False)]
    assert [line.split(":")[0] for line in disagreements(rows)] == ["c"]


def test_shares_of_the_ceiling_and_the_fastest_peer():
    rows = [
        row(OURS, rates=[80.0, 90.0]),
        row(CEILING, rates=[100.0, 100.0], has_loss=False),
        row(ONE_CORE[OURS], rates=[40.0, 40.0]),
        row("slow", rates=[20.0, 20.0]),
        row("fast", rates=[40.0, 45.0]),
        Measured("absent", problem="not installed: absent"),
    ]
    assert table.shares_of_ceiling(rows) == {"all cores": pytest.approx((0.85, 0.8, 0.9))}
    assert table.fastest_peer(rows).peer == "fast"
    assert "2.00x (2.00 to 2.00) the fastest peer, fast" in remarks(Case(), rows)[0]
    assert draw(Case(), "mnist", rows).row_count == len(rows)


def test_peers_answer_in_turn_and_a_missing_one_is_listed(folder):
    peers = [fake(OURS), fake("twin"), Peer("absent", "nowhere:none", ("no_such_package",))]
    ours, twin, absent = run_peers(peers, folder)
    assert len(ours.rates) == len(twin.rates) == 3
    assert ours.loss == 0.5
    assert ours.peak_mib > 0
    assert absent.problem == "not installed: no_such_package"
    assert not absent.failed
    assert disagreements([ours, twin, absent]) == []


def test_the_fastest_setting_is_chosen(folder):
    (peer,) = run_peers([fake("peer", "two_speeds")], folder)
    assert peer.setting == "fast"
    assert set(peer.tried) == {"slow", "fast"}


def test_a_peer_that_trains_another_model_is_reported(folder):
    rows = run_peers([fake(OURS), fake("other", "wrong")], folder)
    assert disagreements(rows)[0].startswith("other: loss 0.6")


def test_a_peer_that_fails_says_why_and_stops_no_other(folder):
    ours, failing = run_peers([fake(OURS), fake("failing", "broken")], folder)
    assert len(ours.rates) == 3
    assert failing.failed
    assert failing.problem == "failed: RuntimeError: no such kernel"


def test_processes_side_by_side_count_together(folder):
    (peer,) = run_peers([fake("peer", one_process_per_core=True)], folder, cores=2)
    assert peer.examples_per_step == 2 * Case().batch_size


def test_no_process_outlives_the_measurement(folder, monkeypatch):
    started = []
    begin = process.subprocess.Popen
    monkeypatch.setattr(
        process.subprocess, "Popen", lambda *a, **k: started.append(begin(*a, **k)) or started[-1]
    )
    run_peers([fake(OURS), fake("failing", "broken")], folder)
    assert [child.poll() is not None for child in started] == [True, True]


@pytest.mark.parametrize(("function", "code"), [("steady", 0), ("wrong", 1), ("broken", 1)])
def test_the_command_writes_json_and_reports_faults(
    tmp_path, folder, monkeypatch, capsys, function, code
):
    def prepare(target):
        (target / "batches.npz").write_bytes((folder / "batches.npz").read_bytes())
        return "zeros"

    peers = (fake(OURS), fake("torch", function))
    monkeypatch.setattr(compare, "prepare", prepare)
    monkeypatch.setattr(compare, "peers_of", lambda mode: peers)
    path = tmp_path / "results.json"
    short = ["--modes", "train", "--hidden", "8", "--rounds", "1", "--seconds", "0.01"]
    assert compare.main([*short, "--json", str(path)]) == code
    report = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert [peer["peer"] for peer in report["cases"][0]["peers"]] == [OURS, "torch"]
    assert report["cases"][0]["data"] == "zeros"
    assert ("WRONG" in capsys.readouterr().out) == (code == 1)


def test_the_runners_programs_train_as_a_plain_step_does(tmp_path):
    """Compares mean losses of two steps on the same batches from the same weights."""
    import jax
    from fast_compile import fast_jit, programs_by

    from benchmarks import data, ours

    case, rng = Case(hidden_size=4), np.random.default_rng(0)
    size = NUM_BATCHES * case.batch_size
    images = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
    split = {"images": images, "labels": rng.integers(0, 10, size).astype(np.int32)}
    data.write(tmp_path, "noise", split)
    np.savez(tmp_path / weights_file(case), **make_weights(case, 0))
    task = load_task(case, tmp_path)
    with programs_by(fast_jit):
        with jax.numpy_dtype_promotion("standard"):  # as a peer's process runs, for optax's Adam
            plain = ours.plain(task)["jitted loop"]()(0, 2)
        assert ours.ours(task)["8 microbatches"]()(0, 2) == pytest.approx(plain, rel=1e-5)


def test_pixels_are_measured_at_one_hidden_size_only():
    options = compare.parse(["--modes", "train", "pixels", "--hidden", "32", "128"])
    assert compare.chosen(options) == [("train", 32), ("train", 128), ("pixels", 128)]


def test_a_peer_that_cannot_run_on_the_device_is_listed(folder):
    """Lists GPU peers on a CPU, and one-core peers on a GPU."""
    gpu, one_core = Peer("cudnn", "nowhere:none", gpu_only=True), fake("slow", one_core=True)
    (row,) = run_peers([gpu], folder)
    assert (row.problem, row.failed) == ("needs a GPU", False)
    assert one_core.absent("cpu") == ""
    (row,) = run_peers([one_core], folder, case=Case(platform="gpu"))
    assert row.problem == "is measured on CPU only"
    assert process.environment(gpu, 1, "gpu")["JAX_PLATFORMS"] == "cuda"


def test_equal_terms_takes_the_best_rate_of_each_cell_and_other_seeds():
    """The metric of a made-up member is its number in the grid: the last rate of a cell is best."""
    grid = Experiment(cell=("gru", "rnn"), learning_rate=(1e-3, 1e-2, 3e-2), seed=9)
    results = list(made_up_record(grid).results.values())
    worst = results[5] = replace(results[5], diverged_at=3)  # the last rate of the RNN
    best = equal_terms.best_rates(results)
    assert [(member.cell, member.learning_rate) for member in best] == [
        ("gru", 3e-2),
        ("rnn", 1e-2),
    ]
    assert worst.member not in best
    seeds = equal_terms.with_seeds(best[0], (0, 1, 2))
    assert (seeds.axes, seeds.learning_rate) == ({"seed": (0, 1, 2)}, 3e-2)
    with pytest.raises(UserError, match="9 has chosen the rate"):
        equal_terms.with_seeds(best[0], (8, 9))
    row = equal_terms.row(grid, list(made_up_record(seeds).results.values()), "a/b")
    assert (row["cell"], row["metric"], row["score"], row["seeds"]) == ("gru", "accuracy", 1.0, 3)
    assert (row["seed"], row["each_seed"]) == ("0 1 2", "0.0 1.0 2.0")
    assert row["half_width"] == pytest.approx(4.303 / 3**0.5, rel=1e-3)  # of 0, 1 and 2
    header, _, line = equal_terms.printed([row]).split("\n")[:3]
    assert dict(zip(header.split(" | "), line.split(" | "), strict=True))["accuracy"] == "1"
    assert not {"metric", "score", "each_seed"} & {*header.split(" | ")}
    blocks = Experiment(block=(Plain(), Residual(expand=(1.5, 2))), seed=(0, 1))
    plain = Experiment(block=Plain(), seed=(0, 1))
    row = equal_terms.row(blocks, list(made_up_record(plain).results.values()), "a/b")
    assert row["block.expand"] == ""  # which a plain block does not have


def test_equal_terms_trains_a_grid_and_then_the_best_rate_of_each_cell_with_fresh_seeds(
    monkeypatch, capsys
):
    trained = []

    def run(experiment, **_):
        trained.append(experiment if isinstance(experiment, Experiment) else experiment.experiment)
        members = list(made_up_record(trained[-1]).results.values())
        return SimpleNamespace(members=members, directory=Path(trained[-1].digest))

    monkeypatch.setattr(equal_terms, "run", run)
    monkeypatch.setattr(equal_terms, "read_run", lambda directory: directory)
    monkeypatch.setattr(equal_terms, "origin", lambda record: {"commit": "none"})
    words = ["long_adding", "--cell", "gru", "rnn"]
    command, options = equal_terms.parse_words([*words, "--seed", "0", "1"])
    rows = equal_terms.train(command, options.seed)
    grid, *fresh = trained
    assert [(each.cell, each.seed) for each in fresh] == [("gru", (0, 1)), ("rnn", (0, 1))]
    assert {row["run"] for row in rows} == {f"long_adding/{each.digest}" for each in fresh}
    assert grid.seed == 100
    *_, said = capsys.readouterr().out.splitlines()
    assert said == f"row 2 of 2: cell rnn, learning rate {fresh[1].learning_rate}, seeds 0 1"
    command, options = equal_terms.parse_words([*words, "--learning-rate", "0.1", "--gru-time"])
    equal_terms.train(command, options.seed, gru_time=options.gru_time)
    assert [each.seed for each in trained[3:]] == [(0, 1, 2)] * 2  # there is nothing to choose
    gru, rnn = trained[3:]  # the RNN takes 0.92 of the GRU's time
    assert gru.total_steps == grid.total_steps < rnn.total_steps < 1.2 * gru.total_steps
    epochs = equal_terms.in_gru_time(Experiment(cell="rnn", total_epochs=2))
    assert 2 < epochs.total_epochs < 2.4
    with pytest.raises(UserError, match=r"cost.csv has no cost of lem"):
        equal_terms.in_gru_time(gru.replace({"cell": "lem"}))


@pytest.mark.slow
def test_lengths_scores_each_member_at_each_length_as_a_run_does_at_its_own(tmp_path):
    task = StateTracking(problem="parity", length=5)
    seeds = Experiment(task=task, cell="rnn", seed=(0, 1, 2), **TINY, total_steps=4)
    outcome = run(seeds, name="parity", runs_dir=tmp_path, silent=True)
    name = f"parity/{outcome.directory.name}"
    table = [equal_terms.row(seeds, outcome.members, name)]
    write_csv(tmp_path / "parity" / "equal_terms.csv", table)
    (trained,) = lengths.read_rows(tmp_path / "parity")
    same, longer = lengths.score_row(trained, tmp_path, (5, 9), quiet())
    assert [each["length"] for each in (same, longer)] == [5, 9]
    assert same["each_seed"] == trained["each_seed"] != longer["each_seed"]
    assert (str(same["score"]), str(same["half_width"])) == (
        trained["score"],
        trained["half_width"],
    )
    assert (longer["cell"], longer["metric"]) == ("rnn", "accuracy")
    assert 0.4 < same["trivial"] < 0.6
    with pytest.raises(UserError, match=r"benchmarks.equal_terms makes it"):
        lengths.read_rows(tmp_path)


def test_equal_terms_takes_options_that_say_what_is_trained_and_refuses_the_others():
    words = ["long_adding", "--seed", "4", "5", "--cell", "gru", "--name", "mine", "--no-report"]
    command, options = equal_terms.parse_words([*words, "--task.length", "20", "--no-index"])
    assert (options.seed, command.stem, command.index) == ([4, 5], "mine", False)
    assert {member.cell for member in command.study.experiment.members()} == {"gru"}
    for option in (["--shard", "1/2"], ["--max-minutes", "1"], ["--processes", "2"], ["--join"]):
        with pytest.raises(UserError, match=f"{option[0]} is not for equal_terms"):
            equal_terms.parse_words([*words, *option])
    with pytest.raises(UserError, match="no option --see"):
        equal_terms.parse_words([*words, "--see", "3"])


@pytest.mark.parametrize(
    "name",
    ["eras_mackey_glass", "eras_python", "inside_the_block", "ladder", "long_adding", "pixels",
     "recall", "selective_copying", "state_tracking", "time_scales"],
)  # fmt: skip
def test_a_row_of_a_table_is_a_run_of_its_experiment_file(name):
    """A change of the recipe that they share would leave their tables without a source."""
    members = load_study(name).experiment.members()
    digests = {equal_terms.with_seeds(member, (0, 1, 2)).digest[:12] for member in members}
    assert {row["run"] for row in read_table(name)} <= {f"{name}/{d}" for d in digests}


def drawn(figure):
    """Returns the dots of a figure with intervals, [rows, (x, y)], by the label of their kind."""
    (axes,) = figure.canvas.axes
    return {each.get_label(): each.lines[0].get_xydata() for each in axes.containers}


def in_page(score):
    """Returns a score as the tables of the page have it: half a width of one digit, or of two if
    the first is 1 to 3.
    """
    mean, half_width = score
    if half_width == 0:  # all seeds have the same
        return f"{mean:.2f}" if mean == 1 else f"{mean:.3f}"
    decimals = max(0, -math.floor(math.log10(half_width)) + (f"{half_width:e}"[0] in "123"))
    return f"{mean:.{decimals}f} ± {half_width:.{decimals}f}"


def test_half_a_width_has_one_digit_or_two():
    scores = (0.10066, 0.04121), (0.7718, 0.016), (3.1e-5, 7.8e-6), (12.3, 4.4)
    texts = ["0.10 ± 0.04", "0.772 ± 0.016", "0.000031 ± 0.000008", "12 ± 4"]
    assert [in_page(score) for score in scores] == texts
    assert [in_page((1.0, 0.0)), in_page((0.464, 0.0))] == ["1.00", "0.464"]


SECTIONS = {
    "selective_copying": "Selective copying",
    "inside_the_block": "Inside a block",
    "recall": "Associative recall",
    "long_adding": "The adding problem, bare",
    "eras": "Both eras on data",
    "pixels": "Pixels",
    "ladder": "From the LSTM to the xLSTM",
}


@pytest.mark.parametrize("name", SECTIONS)
def test_the_page_has_the_scores_of_each_table(name):
    """Each score stands in a row of its cell, in the section of its table."""
    section = PAGE.split(f"\n## {SECTIONS[name]}\n")[1].split("\n## ")[0]
    missing = []
    for path in TABLES.glob(f"{name}*.csv"):
        for row in read_table(path.stem):
            score = in_page(comparison_tables.score_of(row))
            lines = [
                line for line in section.split("\n") if line.startswith(f"| `{row['cell']}` |")
            ]
            if not any(f"| {score} " in line.replace("*", "") for line in lines):
                missing.append((path.stem, row["cell"], score))
    assert not missing


def test_each_trained_row_says_where_it_comes_from():
    """With these and the code of the commit anyone can make it again, and compare its bits."""
    names = "run", "seed", "parameters_sha256", "commit", "processor", "versions"
    for path in TABLES.glob("*.csv"):
        for row in read_table(path.stem):
            if "parameters_sha256" in row:
                assert all(row[name] for name in names), (path.stem, row["cell"])
                lengths = {len(row[name].split()) for name in ("seed", "parameters_sha256")}
                assert lengths == {int(row["seeds"])}, (path.stem, row["cell"])


def test_intervals_meet_where_they_have_a_number_in_common():
    score, near, far = Score(1.0, 0.1), Score(1.15, 0.1), Score(0.75, 0.1)
    assert [score.meets(other) for other in (score, near, far)] == [True, True, False]
    assert [other.meets(score) for other in (near, far)] == [True, False]


def texts_of_map(figure):
    """Returns the names of the columns of a map of scores, its texts by column and row, and which
    of them are bold.
    """
    (axes,) = figure.canvas.axes
    heads = [label.get_text() for label in axes.get_xticklabels()]
    rows = [label.get_text().split()[0] for label in axes.get_yticklabels()]
    shown, bold = {}, set()
    for text in axes.texts:
        column, row = (round(at) for at in text.get_position())
        if text.get_text():
            shown[column, rows[row]] = text.get_text()
        if text.get_weight() == "bold":
            bold.add((column, rows[row]))
    return heads, shown, bold


def in_field(score):
    """How a field of a score map has a mean and its interval."""
    return f"{figures.short(score.mean)}\n± {figures.short(score.half_width)}"


def test_the_head_figure_has_every_score_of_the_tables_and_a_cost_of_every_cell():
    """Bold is what lies within the intervals of the best: the tables say which of them."""
    scores = {task.table: task.read() for task in figures.TASKS}
    assert {cell for table in scores.values() for cell in table} == YEARS.keys()
    assert list(YEARS.values()) == sorted(YEARS.values())
    costs = {row["cell"]: float(row["times_gru"]) for row in read_table("cost")}
    assert costs["gru"] == 1
    heads, shown, bold = texts_of_map(figures.draw_head())
    for task, head in zip(figures.TASKS, heads, strict=False):
        higher = load_study(task.table).experiment.task.higher_is_better
        assert task.higher_is_better == higher == head.endswith("↑") != head.endswith("↓")
    expected = {(len(scores), cell): figures.short(cost) for cell, cost in costs.items()}
    for column, task in enumerate(figures.TASKS):
        expected[column, "trivial"] = figures.short(task.trivial)
        for cell, score in scores[task.table].items():
            expected[column, cell] = in_field(score)
    assert shown == expected
    tables = list(scores)
    for column, task in enumerate(figures.TASKS):
        cells = scores[task.table]
        choose = max if task.higher_is_better else min
        best = choose(cells, key=lambda cell, cells=cells: cells[cell].mean)
        assert (column, best) in bold
    clear = tables.index("recall")
    assert {cell for column, cell in bold if column == clear} == {"mlstm", "gated_deltanet"}
    texts = [figures.short(value) for value in (0.7997, 0.0505, 3.04e-5, 1.0, 0.0)]
    assert texts == ["0.80", "0.05", "3e-5", "1.00", "0"]
    assert f"| `lru` | 2023 | 55 | 1e-2 | **{in_page(scores['pixels']['lru'])}** |" in PAGE
    for row in costs:
        assert f"| {costs[row]:.2f} |\n" in PAGE.split("## What it costs")[1]


def test_the_figure_of_lengths_has_the_scores_of_its_table_and_the_page_all_of_them():
    section = PAGE.split("## State tracking")[1].split("\n## ")[0]
    heads, shown, bold = texts_of_map(figures.draw_lengths())
    rows, trained = read_table("state_tracking_lengths"), read_table("state_tracking")
    here = {
        (row["cell"], row["task.problem"], row["score"]) for row in rows if row["length"] == "40"
    }
    assert here == {(row["cell"], row["task.problem"], row["score"]) for row in trained}
    assert len(heads) == len(figures.LENGTHS) * len({row["task.problem"] for row in rows})
    for row in rows:
        score = comparison_tables.score_of(row)
        if row["length"] in figures.LENGTHS:
            column = heads.index(f"{row['task.problem']}, {row['length']}")
            assert shown[column, row["cell"]] == in_field(score)
            assert shown[column, "trivial"] == figures.short(float(row["trivial"]))
            table = section.split(f"After {row['length']} symbols:\n\n")[1].split("\n\n")[0]
            head, _, *lines = table.split("\n")
            column = head.removesuffix(" |").split(" | ").index(row["task.problem"])
            (line,) = [each for each in lines if each.startswith(f"| `{row['cell']}` |")]
            assert line.removesuffix(" |").split(" | ")[column] == in_page(score)
    assert not {number for number, _ in bold if heads[number].startswith("a5")}  # all of them guess
    assert (heads.index("parity, 256"), "paragru") in bold


def test_the_figure_of_variants_has_every_table_and_names_those_that_are_missing(
    tmp_path, monkeypatch, capsys
):
    for name in ("pixels", "long_adding"):
        (tmp_path / f"{name}.csv").write_text((TABLES / f"{name}.csv").read_text())
    monkeypatch.setattr(comparison_tables, "TABLES", tmp_path)
    monkeypatch.setattr(figures, "TABLES", tmp_path)
    head, *rows = (tmp_path / "pixels.csv").read_text().splitlines()
    for name, kept in (("pixels_34k", rows[:3]), ("pixels_of_its_own", rows[4:5])):
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *kept]))
    pixels, _ = figures.draw_variants().canvas.axes
    dots = {each.get_label(): each.lines[0].get_xydata() for each in pixels.containers}
    counts = {name: sum(np.isfinite(points[:, 0])) for name, points in dots.items()}
    labels = figures.VARIANTS["pixels"]
    first, second = labels["pixels"], labels["pixels_34k"]
    assert counts == {first: len(rows), second: 3, "pixels_of_its_own": 1}
    assert "pixels_sequential.csv is not in" in (said := capsys.readouterr().out)
    missing = sum(map(len, figures.VARIANTS.values())) - 3  # of the three that are there
    assert (said.count(" is not in "), "pixels_34k" in said) == (missing, False)
    (tmp_path / "pixels_own.csv").write_text("\n".join([head, rows[0].replace("rnn", "mine")]))
    with pytest.raises(ValueError, match="has no year of mine"):
        figures.draw_variants()


def test_the_figure_of_blocks_has_a_dot_for_each_score():
    copying, ladder = figures.draw_blocks().canvas.axes
    tables = ("selective_copying", "inside_the_block")
    cells = [label.get_text().split()[0] for label in copying.get_yticklabels()]
    for kind, name in zip(copying.containers, tables, strict=True):
        points = kind.lines[0].get_xydata()
        means = {cells[int(y)]: x for x, y in points if not math.isnan(x)}
        assert means == {cell: mean for cell, (mean, _) in read_scores(name).items()}
        assert ("bare" in kind.get_label()) == (name == "selective_copying")
    shown = [x for kind in ladder.containers for x in kind.lines[0].get_xdata()]
    rows = read_table("ladder")
    assert sorted(shown) == sorted(float(row["score"]) for row in rows)


def test_a_published_number_stands_beside_ours_and_both_in_the_page():
    """What has a table on equal terms has the numbers of this table."""
    published, ours = drawn(figures.draw_published()).values()
    claims = PAGE.split("## Published claims")[1]
    for row in (rows := read_table("published")):
        if (TABLES / f"{row['experiment']}.csv").exists():
            table = read_table(row["experiment"])  # perhaps of several conditions
            names = ("cell", "metric", "score", "half_width")
            scores = {tuple(each[name] for name in names) for each in table}
            assert (row["cell"], row["metric"], row["ours"], row["half_width"]) in scores
        lines = [line for line in claims.split("\n") if f"`{row['experiment']}`" in line]
        texts = (f" {float(row['published']):.{decimals}f}" for decimals in (2, 3))
        assert any(text in line for text in texts for line in lines), row
    for points, name in ((published, "published"), (ours, "ours")):
        there = sorted(x for x, _ in points if not math.isnan(x))
        assert there == sorted(float(row[name]) for row in rows)


def test_the_figure_of_costs_has_every_cell_at_every_width():
    rows, (times, memory) = read_table("cost_by_width"), figures.draw_costs().canvas.axes
    assert len({row["cell"] for row in rows}) * len(costs.WIDTHS) == len(rows)
    for axes, name, unit in (
        (times, "cpu_milliseconds", 1e3 / costs.TIME_STEPS),
        (memory, "megabytes", 1),
    ):
        here = [x for each in axes.containers for x in each.lines[0].get_xdata()]
        assert sorted(here) == pytest.approx(sorted(unit * float(row[name]) for row in rows))


def test_the_figure_of_time_scales_has_every_setting_and_its_page_every_mean():
    rows = read_table("time_scales")
    (axes,) = figures.draw_time_scales().canvas.axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines[:-1]}
    assert len(rows) == sum(map(len, lines.values()))
    for row in rows:
        each = [float(value) for value in row["each_seed"].split()]
        assert np.mean(each) == pytest.approx(float(row["score"]))
        middle = np.exp(np.mean(np.log(each)))  # of curves on a logarithmic scale
        assert np.isclose(lines[f"cell {row['cell']}"], middle).any()
        assert (
            in_page(comparison_tables.score_of(row)) in PAGE.split("## Time scales as one knob")[1]
        )


def test_the_ways_to_run_a_layer_compute_the_same(monkeypatch):
    """Else their times would not be comparable; Flax's cells, plain scans and forms of scans."""
    import jax
    from fast_compile import fast_jit
    from textbook import assert_close

    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "4")  # what it sets is not for the other tests
    from benchmarks import cells

    for name in ("lstm", "gru", "rnn", "mingru", "lru"):
        ways = cells.LAYERS[name]
        weights = cells.weights(name, 8, jax.random.key(0))
        x_TBI = jax.random.normal(jax.random.key(1), (5, 2, 8))
        run = fast_jit(lambda *at, ways=ways: [layer(*at) for layer in ways.values()])
        with jax.numpy_rank_promotion("allow"):
            first, *others = run(*weights, x_TBI)
        for outputs in others:
            assert_close(outputs, first)


def test_log_space_loses_digits_where_the_plain_scan_does_not():
    cell, plain, tree, log_space = numerics.mingru_errors(64, 0.0)
    assert max(cell, plain, tree) < 2e-6 < log_space
    worst = {(row["recurrence"], int(row["time steps"])): row for row in read_table("error")}
    for row in worst.values():
        texts = (f"{float(row[way]):.1e}".replace("e-0", "e-") for way in numerics.WAYS if row[way])
        assert all(f"| {text} |" in PAGE for text in texts)
    for axes in figures.draw_errors().canvas.axes:
        for line in axes.lines:
            for length, value in line.get_xydata():
                assert float(worst[axes.get_title(), int(length)][line.get_label()]) == value


def test_the_implementations_of_a_device_take_turns():
    calls = []
    ready = {how: partial(calls.append, how) for how in ("ours", "Flax")}
    assert min(device.milliseconds_in_turn(ready, 0.0).values()) > 0
    assert calls == ["ours", "Flax"] * 3


def test_answers_of_an_export_differ_by_their_numbers_and_never_by_their_texts():
    by_class = [{"label": "a", "probabilities": {"a": 0.75, "b": 0.25}}]
    near = [{"label": "a", "probabilities": {"a": 0.7, "b": 0.3}}]
    assert exports.largest_difference(by_class, near) == pytest.approx(0.05)
    forecasts = [{"series": "x", "forecast": [1.0, last]} for last in (2.0, 2.5)]
    assert exports.largest_difference(forecasts, forecasts[::-1]) == 0.5
    assert exports.largest_difference([[[1.0, 2.0]]], [[[1.0, 2.0]]]) == 0  # outputs of the head
    with pytest.raises(RuntimeError, match=r"\['a'\], use.py \['b'\]"):
        exports.largest_difference(by_class, [by_class[0] | {"label": "b"}])
    with pytest.raises(ValueError, match="shorter"):
        exports.largest_difference(by_class, [])


def test_the_table_of_a_device_says_what_is_missing_and_which_bits_differ(monkeypatch, tmp_path):
    member = {"parameters_sha256": "a"}
    trained = {("lstm", "0"): member, ("mingru", "0"): member}
    other = trained | {("mingru", "0"): {"parameters_sha256": "b"}}
    runs = iter([(trained, ""), (trained, ""), (other, "")])
    monkeypatch.setattr(device, "train", lambda *_: next(runs))
    rows = [*device.bits(tmp_path, True, [])]
    assert [row.failed for row in rows] == [False, False, False, True]
    assert rows[-1][:3] == ("bits of mingru", "in a sweep of three seeds", "OTHER BITS")
    monkeypatch.setattr(device, "child", lambda _: ([], "no device | here"))
    found = {}
    (row,) = device.described(found)
    assert row.failed
    assert not found
    assert row.result == "no device | here"
