"""The tables of optimisers and of learning rate schedules: a new one is a class and a line here."""

from __future__ import annotations

from lstm_jax.components import Table
from lstm_jax.optim.optimizer import (
    SGD,
    Adafactor,
    Adam,
    AdamW,
    Lamb,
    Lion,
    Muon,
    Optimizer,
    RMSProp,
)
from lstm_jax.optim.schedule import Constant, Cosine, Linear, Schedule, WarmupStableDecay

OPTIMIZERS = Table[Optimizer](Optimizer, Adam, AdamW, SGD, RMSProp, Lion, Lamb, Adafactor, Muon)
SCHEDULES = Table[Schedule](Schedule, Constant, Cosine, Linear, WarmupStableDecay)
