"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, eager and compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.task import (
    LEARNING_RATE,
    NUM_BATCHES,
    NUM_CLASSES,
    Case,
    Run,
    Setting,
    Task,
    forget_plus_one,
    gates_in_order,
)

LAYERS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Model(nn.Module):
    """Dense, recurrent layers, dense on the last output or on all; images [B,T,I]."""

    def __init__(self, case: Case, batch_first: bool):
        super().__init__()
        hidden = case.hidden_size
        self.batch_first, self.per_step_outputs = batch_first, case.per_step_outputs
        self.hidden = nn.Linear(case.features, hidden)
        self.cells = LAYERS[case.cell](hidden, hidden, case.layers, batch_first=batch_first)
        self.output = nn.Linear(hidden, NUM_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [B,C], or [B,T,C]."""
        if not self.batch_first:
            x = x.transpose(0, 1)
        outputs, state = self.cells(self.hidden(x))
        if self.per_step_outputs:
            return self.output(outputs if self.batch_first else outputs.transpose(0, 1))
        last = state[0] if isinstance(state, tuple) else state
        return self.output(last[-1])


def eager(task: Task) -> dict[str, Setting]:
    """Returns PyTorch as in its tutorials, on all cores (its default) or one thread."""
    return _settings(task, compiled=False)


def compiled(task: Task) -> dict[str, Setting]:
    """Returns the same under torch.compile, which leaves the layers to their eager kernels."""
    return _settings(task, compiled=True)


def single_thread(task: Task) -> dict[str, Setting]:
    """Returns one thread, for one of several processes side by side."""
    return {"rows first": partial(_run, task, False, False, 1)}


def _settings(task: Task, compiled: bool) -> dict[str, Setting]:
    threads = torch.get_num_threads()
    counts = {threads} if task.case.platform == "gpu" else {1, threads}
    return {
        f"{'batch' if batch_first else 'rows'} first, {count} threads": partial(
            _run, task, compiled, batch_first, count
        )
        for count in sorted(counts, reverse=True)
        for batch_first in (False, True)
    }


def _load(model: Model, case: Case, weights: dict[str, np.ndarray]) -> None:
    """Loads the first weights, in PyTorch's order of gates: i, f, g, o for the LSTM.

    One of two equal biases stays zero, or Adam would count it twice. The GRU's two biases of n are
    not equal.
    """
    values = {
        "hidden.weight": weights["hidden_kernel"].T,
        "hidden.bias": weights["hidden_bias"],
        "output.weight": weights["output_kernel"].T,
        "output.bias": weights["output_bias"],
    }
    lstm, hidden = case.cell == "lstm", case.hidden_size
    for index, name in enumerate(case.cell_names):
        kernel, bias = weights[f"{name}_kernel"], np.zeros(weights[f"{name}_kernel"].shape[1])
        inputs, recurrent = np.split(gates_in_order(kernel, "ifjo") if lstm else kernel, 2)
        values |= {
            f"cells.weight_ih_l{index}": inputs.T,
            f"cells.weight_hh_l{index}": recurrent.T,
            f"cells.bias_ih_l{index}": forget_plus_one(bias, "ifjo") if lstm else bias,
            f"cells.bias_hh_l{index}": np.zeros_like(bias),
        }
        second: torch.Tensor = getattr(model.cells, f"bias_hh_l{index}")
        if case.cell == "gru":
            is_n = torch.arange(3 * hidden) >= 2 * hidden
            second.register_hook(lambda gradient, is_n=is_n: gradient * is_n.to(gradient.device))
        else:
            second.requires_grad_(False)
    model.load_state_dict(
        {name: torch.tensor(value.copy(), dtype=torch.float32) for name, value in values.items()}
    )


def _run(task: Task, compiled: bool, batch_first: bool, threads: int) -> Run:
    torch.set_num_threads(threads)
    device = "cuda" if task.case.platform == "gpu" else "cpu"
    model = Model(task.case, batch_first)
    _load(model, task.case, task.weights)
    model.to(device)
    images = torch.from_numpy(task.images_SBTI).to(device)
    labels = torch.from_numpy(task.labels_SB).long().to(device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=LEARNING_RATE, fused=True)
    call: Any = model
    if compiled:
        torch.compiler.reset()  # or a second setting would find the first one's programs
        call = torch.compile(model)

    def train(start: int, stop: int) -> float:
        torch.set_num_threads(threads)
        total = torch.zeros((), device=device)
        for step in range(start, stop):
            optimizer.zero_grad(set_to_none=True)
            logits, wanted = call(images[step % NUM_BATCHES]), labels[step % NUM_BATCHES]
            if task.case.per_step_outputs:
                wanted = wanted.repeat_interleave(task.case.rows)
            loss = nn.functional.cross_entropy(logits.flatten(0, -2), wanted)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) / (stop - start)

    @torch.inference_mode()
    def forward(start: int, stop: int) -> float:
        torch.set_num_threads(threads)
        total = torch.zeros((), device=device)
        for step in range(start, stop):
            total += call(images[step % NUM_BATCHES]).abs().mean()
        return float(total) / (stop - start)

    if task.case.forward:
        model.eval()
        return forward
    return train
