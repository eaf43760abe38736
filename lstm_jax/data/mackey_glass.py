"""The Mackey-Glass series, computed: chaotic, and the same numbers on every machine.

dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t): Mackey and Glass, "Oscillation and chaos in
physiological control systems", Science 197 (1977).
"""

from __future__ import annotations

from collections import deque

import numpy as np

DELAY = 17  # units of time
STEPS = 10  # of the integrator in a unit of time
TRANSIENT = 1000  # units of time before the first value
START = 1.2


def mackey_glass(length: int) -> np.ndarray:
    """Returns x at this many successive units of time, float64 [length].

    It uses the classical Runge-Kutta method of fixed step; between two steps the delayed value is
    their mean. It uses only Python's sums and products, no power function: these are rounded alike
    everywhere, and chaos would enlarge a different last bit.
    """
    step = 1.0 / STEPS
    past = deque([START] * (DELAY * STEPS + 1))  # from x(t - 17) to x(t)
    x, values = START, []
    for count in range((TRANSIENT + length) * STEPS):
        if count % STEPS == 0 and count >= TRANSIENT * STEPS:
            values.append(x)
        delayed = past.popleft()
        gain_0, gain_1 = _gain(delayed), _gain(past[0])
        gain_half = _gain(0.5 * (delayed + past[0]))
        k_1 = gain_0 - 0.1 * x
        k_2 = gain_half - 0.1 * (x + 0.5 * step * k_1)
        k_3 = gain_half - 0.1 * (x + 0.5 * step * k_2)
        k_4 = gain_1 - 0.1 * (x + step * k_3)
        x = x + step / 6.0 * (k_1 + 2.0 * k_2 + 2.0 * k_3 + k_4)
        past.append(x)
    return np.array(values)


def _gain(delayed: float) -> float:
    square = delayed * delayed
    fourth = square * square
    return 0.2 * delayed / (1.0 + fourth * fourth * square)
