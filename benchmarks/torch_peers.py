"""PyTorch: nn.LSTM, eager and compiled."""

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
    Run,
    Setting,
    Task,
    forget_plus_one,
    gates_in_order,
)


class Model(nn.Module):
    """Dense, LSTM, dense on the last hidden state; images [B,T,I]."""

    def __init__(self, features: int, hidden_size: int, batch_first: bool):
        super().__init__()
        self.batch_first = batch_first
        self.hidden = nn.Linear(features, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=batch_first)
        self.output = nn.Linear(hidden_size, NUM_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.batch_first:
            x = x.transpose(0, 1)
        _, (h, _) = self.lstm(self.hidden(x))
        return self.output(h[0])


def eager(task: Task) -> dict[str, Setting]:
    """As its tutorials run it; all cores (PyTorch's default) or one thread."""
    return _settings(task, compiled=False)


def compiled(task: Task) -> dict[str, Setting]:
    """The same under torch.compile, which leaves nn.LSTM itself to its eager kernels."""
    return _settings(task, compiled=True)


def single_thread(task: Task) -> dict[str, Setting]:
    """One of several processes side by side."""
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


def _load(model: Model, weights: dict[str, np.ndarray]) -> None:
    """Gates i, f, g, o. Of the two equal biases one stays zero, or Adam would count it twice."""
    inputs, recurrent = np.split(gates_in_order(weights["lstm_kernel"], "ifjo"), 2)
    values = {
        "hidden.weight": weights["hidden_kernel"].T,
        "hidden.bias": weights["hidden_bias"],
        "lstm.weight_ih_l0": inputs.T,
        "lstm.weight_hh_l0": recurrent.T,
        "lstm.bias_ih_l0": forget_plus_one(weights["lstm_bias"], "ifjo"),
        "lstm.bias_hh_l0": np.zeros_like(weights["lstm_bias"]),
        "output.weight": weights["output_kernel"].T,
        "output.bias": weights["output_bias"],
    }
    model.load_state_dict({name: torch.tensor(value.copy()) for name, value in values.items()})
    model.lstm.bias_hh_l0.requires_grad_(False)


def _run(task: Task, compiled: bool, batch_first: bool, threads: int) -> Run:
    torch.set_num_threads(threads)
    device = "cuda" if task.case.platform == "gpu" else "cpu"
    model = Model(task.case.features, task.case.hidden_size, batch_first)
    _load(model, task.weights)
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
            loss = nn.functional.cross_entropy(
                call(images[step % NUM_BATCHES]), labels[step % NUM_BATCHES]
            )
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
