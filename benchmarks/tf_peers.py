"""TensorFlow: the notebook's own graph, and Keras 3 on TensorFlow and on JAX."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.task import (
    LEARNING_RATE,
    NUM_BATCHES,
    NUM_CLASSES,
    Run,
    Setting,
    Task,
    forget_plus_one,
    gates_in_order,
    spans,
)


def notebook(task: Task) -> dict[str, Setting]:
    """Returns the notebook: a static graph of BasicLSTMCell(H), a session, one feed_dict a step."""
    return {"session": partial(_notebook, task)}


def _notebook(task: Task) -> Run:
    import tensorflow as tf

    v1, case = tf.compat.v1, task.case
    one_hot = np.eye(NUM_CLASSES, dtype=np.float32)[task.labels_SB]
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, case.rows, case.features])
        y = v1.placeholder(tf.float32, [None, NUM_CLASSES])
        logits = _notebook_logits(task, x)
        answer = tf.reduce_mean(tf.abs(logits))
        fetched: tuple[Any, ...] = (logits, answer)
        if not case.forward:
            entropy = v1.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits)
            answer = tf.reduce_mean(entropy)
            fetched = (v1.train.AdamOptimizer(LEARNING_RATE).minimize(answer), answer)
        session = v1.Session(graph=graph)
        session.run(v1.global_variables_initializer())
        for variable in v1.trainable_variables("cell|rnn/cell"):
            name = "lstm_kernel" if "kernel" in variable.name else "lstm_bias"
            session.run(variable.assign(task.weights[name]))

    def run(start: int, stop: int) -> float:
        values = []
        for step in range(start, stop):
            batch = step % NUM_BATCHES
            feed = {x: task.images_SBTI[batch], y: one_hot[batch]}
            values.append(session.run(fetched, feed_dict=feed)[1])
        return float(np.mean(values))

    return run


def _notebook_logits(task: Task, x: Any) -> Any:
    """Builds the graph of the notebook. Pixels use a loop, because nobody unrolls 784 steps."""
    import tensorflow as tf

    v1, case = tf.compat.v1, task.case
    weights = {name: v1.get_variable(name, initializer=value)
               for name, value in task.weights.items() if not name.startswith("lstm")}  # fmt: skip
    x = tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, case.features])
    x = tf.matmul(x, weights["hidden_kernel"]) + weights["hidden_bias"]
    cell = v1.nn.rnn_cell.BasicLSTMCell(case.hidden_size, forget_bias=1.0, name="cell")
    if case.mode == "pixels":
        x = tf.reshape(x, [case.rows, -1, case.hidden_size])
        _, (_, last) = v1.nn.dynamic_rnn(cell, x, dtype=tf.float32, time_major=True)
    else:
        outputs, _ = v1.nn.static_rnn(cell, tf.split(x, case.rows, 0), dtype=tf.float32)
        last = outputs[-1]
    return tf.matmul(last, weights["output_kernel"]) + weights["output_bias"]


# How it is trained, whether the rows are unrolled in the graph, whether XLA compiles it. On JAX
# everything but XLA runs operation by operation, and XLA takes half a minute over unrolled rows.
KERAS_SETTINGS = {
    "tensorflow": {
        "train_on_batch, unrolled": ("train_on_batch", True, False),
        "fit, XLA": ("fit", False, True),
        "train_on_batch": ("train_on_batch", False, False),
        "fit": ("fit", False, False),
    },
    "jax": {
        "fit, XLA": ("fit", False, True),
        "train_on_batch, XLA": ("train_on_batch", False, True),
    },
}


def keras(task: Task) -> dict[str, Setting]:
    """Returns Keras 3 on the backend that KERAS_BACKEND names, in the settings worth trying."""
    import keras

    return {
        name: partial(_keras, task, *setting)
        for name, setting in KERAS_SETTINGS[keras.backend.backend()].items()
        if not (task.case.mode == "pixels" and "unrolled" in name)
    }


def _keras_model(task: Task, unroll: bool) -> Any:
    import keras

    hidden_size, weights = task.case.hidden_size, task.weights
    model = keras.Sequential(
        [
            keras.Input((task.case.rows, task.case.features)),
            keras.layers.Dense(hidden_size),
            keras.layers.LSTM(hidden_size, unroll=unroll),
            keras.layers.Dense(NUM_CLASSES),
        ]
    )
    kernel = np.split(gates_in_order(weights["lstm_kernel"], "ifjo"), 2)
    lstm = [*kernel, forget_plus_one(weights["lstm_bias"], "ifjo")]
    dense = [[weights[f"{name}_kernel"], weights[f"{name}_bias"]] for name in ("hidden", "output")]
    model.set_weights([*dense[0], *lstm, *dense[1]])
    return model


def _keras(task: Task, how: str, unroll: bool, xla: bool) -> Run:
    import keras

    model = _keras_model(task, unroll)
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=xla,
    )
    batch_size, images, labels = task.case.batch_size, task.images_SBTI, task.labels_SB

    def fit(start: int, stop: int) -> float:
        total = 0.0
        for span in spans(start, stop):
            x, y = images[span].reshape(-1, *images.shape[2:]), labels[span].reshape(-1)
            seen = model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0)
            total += seen.history["loss"][0] * (span.stop - span.start)
        return total / (stop - start)

    def train_on_batch(start: int, stop: int) -> float:
        losses = [model.train_on_batch(images[step % NUM_BATCHES], labels[step % NUM_BATCHES])
                  for step in range(start, stop)]  # fmt: skip
        return float(np.mean(losses))

    def predict(start: int, stop: int) -> float:
        total = 0.0
        for span in spans(start, stop):
            x = images[span].reshape(-1, *images.shape[2:])
            logits = model.predict(x, batch_size=batch_size, verbose=0)
            total += float(np.abs(logits).mean()) * (span.stop - span.start)
        return total / (stop - start)

    def predict_on_batch(start: int, stop: int) -> float:
        means = [np.abs(model.predict_on_batch(images[step % NUM_BATCHES])).mean()
                 for step in range(start, stop)]  # fmt: skip
        return float(np.mean(means))

    if task.case.forward:
        return predict if how == "fit" else predict_on_batch
    return fit if how == "fit" else train_on_batch
