"""What figures draw on their axes: curves and panels of them, points, maps, pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lstm_jax.report.drawing import COLOURS, INK, Drawing, draw

MOST_TITLE = 26  # letters over a small picture
MOST_IN_A_LINE = 60  # letters of names under a figure, with two between them
LETTER = 0.065  # inches a letter of a legend takes, about
COLOURED = 5  # curves with a colour of their own, where there are more than colours
# The same gate has the same colour in every figure: by how its name begins.
GATES = {"input": COLOURS[0], "forget": COLOURS[4], "output": COLOURS[2], "reset": COLOURS[3],
         "update": COLOURS[1]}  # fmt: skip
# And the same of the cells that are compared most; the others have the colours that are left.
CELLS = {"cell lstm": COLOURS[0], "cell gru": COLOURS[1], "cell rnn": COLOURS[4]}


def curves(
    axes: Axes,
    lines: Mapping[str, tuple[Any, Any]],
    labels: tuple[str, str],
    log: bool | None = None,
    colours: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Named lines (x, y), the most important first; where y is [seeds, x], its mean and a band from
    least to most. Of many lines the first ones have colours, the others are grey.

    `log` is of y; without a word from the caller it is taken for what spans more than a thousand
    times itself. A gate has the same colour everywhere.
    """
    drawn = {name: np.atleast_2d(np.asarray(y, float)) for name, (_, y) in lines.items()}
    colours = colours or colours_of(lines)
    if log is None:
        log = _spans_much(list(drawn.values()))
    for place, (name, (x, _)) in enumerate(lines.items()):
        y = drawn[name]
        if log:  # less than 1e-12 as that, more than a float32 can hold as 1e38
            y = np.clip(y, 1e-12, 1e38)
        middle = 10 ** np.mean(np.log10(y), axis=0) if log else np.mean(y, axis=0)
        grey = place >= COLOURED and len(lines) > len(COLOURS)
        label = name
        if grey:
            last = place == len(lines) - 1
            label = f"{len(lines) - COLOURED} others" if last else "_nolegend_"
        alone = "o" if y.shape[1] == 1 else None
        (line,) = axes.plot(
            x, middle, label=label, marker=alone, markersize=4, zorder=1 if grey else 2,
            linewidth=0.7 if grey else 1.4, linestyle=_dashes(name),
            color="#99999988" if grey else colours[name],
        )  # fmt: skip
        if len(y) > 1 and not grey:
            axes.fill_between(
                x, y.min(axis=0), y.max(axis=0), color=line.get_color(), alpha=0.18, linewidth=0
            )
    if log:
        axes.set_yscale("log")
    _label(axes, labels)
    if all(np.all(np.mod(x, 1) == 0) for x, _ in lines.values()):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    entries = min(len(lines), COLOURED + 1) if len(lines) > len(COLOURS) else len(lines)
    if entries > 3:  # too many to lie on the curves
        columns = 2 if max(map(len, lines)) < 26 else 1
        axes.legend(fontsize=8, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1))
    elif entries > 1:
        axes.legend(fontsize=8)


def _spans_much(values: Sequence[np.ndarray]) -> bool:
    """Whether a logarithmic axis shows them better: none is 0, which it could not show."""
    lowest = min((np.min(y) for y in values), default=0.0)
    highest = max((np.max(y) for y in values), default=0.0)
    return bool(0 < lowest < highest / 1000)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each name: of a gate and of a well-known cell always the same."""
    names = list(names)
    found = {name: own for name in names if (own := _gate(name) or CELLS.get(name))}
    left = [colour for colour in COLOURS if colour not in found.values()] or COLOURS
    others = [name for name in names if name not in found]
    return found | dict(zip(others, itertools.cycle(left), strict=False))


def _gate(name: str) -> str | None:
    """The colour of a gate; None of anything else."""
    return next((GATES[key] for key in GATES if name.startswith(f"{key} gate")), None)


def _dashes(name: str) -> str:
    """Of a gate two curves have one colour: how often it is shut is dashed."""
    return "--" if _gate(name) and name.endswith("shut") else "-"


def draw_panels(
    by_title: Mapping[str, Mapping[str, tuple[Any, Any]]],
    labels: tuple[str, str],
    log: bool | None = None,
) -> Drawing:
    """Curves side by side on one scale, or one alone; a name has one colour in all of them."""
    if len(by_title) == 1:
        (lines,) = by_title.values()
        return draw(curves, lines, labels, log)
    columns = len(by_title) if len(by_title) < 4 else -(-len(by_title) // 2)
    grid = -(-len(by_title) // columns), columns
    return draw(_panels, by_title, labels, log, grid=grid, size=(3.4, 2.9))


def _panels(
    axes: Sequence[Axes],
    by_title: Mapping[str, Mapping[str, tuple[Any, Any]]],
    labels: tuple[str, str],
    log: bool | None,
) -> None:
    colours = colours_of(dict.fromkeys(name for lines in by_title.values() for name in lines))
    shown = axes[: len(by_title)]
    for axis, (title, lines) in zip(shown, by_title.items(), strict=True):
        curves(axis, lines, labels, log, colours)
        axis.set_title(title, fontsize=10)
        if (legend := axis.get_legend()) is not None:
            legend.remove()
    scale = "log" if any(axis.get_yscale() == "log" for axis in shown) else "linear"
    for axis in shown:
        axis.set_yscale(scale)
    limits = [axis.get_ylim() for axis in shown]
    for axis in shown:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    canvas: Any = shown[0].figure  # of which a type checker knows too little
    room = canvas.get_figwidth() / (0.5 + LETTER * max(map(len, colours)))
    columns = min(max(1, int(room)), len(colours))
    canvas.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=8)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()


def _label(axes: Axes, labels: tuple[str, str]) -> None:
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True, linewidth=0.5)


def bands(axes: Axes, lines: Mapping[str, tuple[Any, Any, Any]], labels: tuple[str, str]) -> None:
    """Named curves by row, each with what lies below it and above: a band."""
    colours = colours_of(lines)
    for name, (middle, low, high) in lines.items():
        rows = np.arange(1, len(middle) + 1)
        (line,) = axes.plot(rows, middle, label=name, linewidth=1.4, color=colours[name])
        axes.fill_between(rows, low, high, color=line.get_color(), alpha=0.15, lw=0)
    _label(axes, labels)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    axes.legend(fontsize=8)


def heat_map(
    axes: Axes,
    values: np.ndarray,
    notes: Sequence[Sequence[str]],
    ticks: tuple[Sequence[str], Sequence[str]],
    labels: tuple[str, str],
    higher_is_better: bool,
) -> None:
    """values [x, y] as colours, the best bright, a note in each cell; nan where there is none.

    The worst tenth has one colour, so that what is near the best is told apart.
    """
    shown = np.ma.masked_invalid(values.T)
    spec = [0.1, 1.0] if higher_is_better else [0.0, 0.9]
    low, high = np.nanquantile(values, spec) if np.isfinite(values).any() else (0.0, 1.0)
    colours = "viridis" if higher_is_better else "viridis_r"
    image = axes.imshow(shown, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high)
    if np.isfinite(values).any():
        axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    for x in range(values.shape[0]):
        for y in range(values.shape[1]):
            if math.isfinite(values[x, y]):
                dark = (values[x, y] < (low + high) / 2) == higher_is_better
                axes.text(x, y, notes[x][y], ha="center", va="center", fontsize=7.5,
                          color="white" if dark else "black")  # fmt: skip
    _name_columns(axes, ticks[0])
    axes.set_yticks(range(len(ticks[1])), ticks[1])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def confusion(axes: Axes, counts_CC: np.ndarray) -> None:
    """How often which class was taken for which: rows are the labels."""
    wrong = counts_CC.astype(float)
    np.fill_diagonal(wrong, 0)
    most = wrong.max()
    axes.imshow(np.where(wrong > 0, wrong, np.nan), cmap="Oranges", vmin=0, vmax=max(most, 1))
    for (label, answer), count in np.ndenumerate(counts_CC):
        if count:
            strong = label != answer and wrong[label, answer] > most / 2
            colour = INK if label == answer else ("white" if strong else "black")
            axes.text(answer, label, str(count), ha="center", va="center", fontsize=6.5,
                      color=colour)  # fmt: skip
    classes = range(len(counts_CC))
    axes.set_xticks(classes)
    axes.set_yticks(classes)
    axes.set_xlabel("answer")
    axes.set_ylabel("label")


def points(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    arms: np.ndarray | None,
    labels: tuple[str, str],
    log: bool,
    names: Sequence[str] | None = None,
) -> None:
    """Points with intervals, whose arms [2, points] go down and up, none where nan.

    Names stand at x = 0, 1, ...
    """
    axes.errorbar(x, y, yerr=arms, fmt="o", markersize=5, capsize=3, linewidth=1.2)
    if log:
        _logarithmic(axes)
    if names is not None:
        _name_columns(axes, names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    _label(axes, labels)


def scatter(axes: Axes, groups: Mapping[str, tuple[Any, Any]], labels: tuple[str, str]) -> None:
    """Named groups of points (x, y), x on a logarithmic scale."""
    colours = colours_of(groups)
    for name, (x, y) in groups.items():
        axes.plot(x, y, "o", label=name, markersize=4, alpha=0.8, color=colours[name])
    _logarithmic(axes)
    _label(axes, labels)
    axes.legend(fontsize=8)


def _name_columns(axes: Axes, names: Sequence[str]) -> None:
    """Names at x = 0, 1, ...; slanting where they would run into each other."""
    crowded = sum(len(name) + 2 for name in names) > MOST_IN_A_LINE
    slant: dict[str, Any] = {"rotation": 30, "ha": "right"} if crowded else {}
    axes.set_xticks(range(len(names)), names, **slant)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # Of many decades a locator with more than one tick in each would show none.
    subs = (1, 2, 5) if high < 1e2 * low else (1, 3) if high < 1e4 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def pictures(axes: Sequence[Axes], images: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Grey images side by side."""
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        shown = title if len(title) <= MOST_TITLE else f"{title[: MOST_TITLE - 3]}..."
        axis.set_title(shown, fontsize=8, parse_math=False)  # names of classes may hold a dollar
    for axis in axes:
        axis.set_axis_off()


def belief(axes: Sequence[Axes], image: np.ndarray, beliefs_TC: np.ndarray, title: str) -> None:
    """An image beside the class probabilities after each row of it."""
    picture, map_ = axes
    picture.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
    picture.set_title(title, fontsize=8)
    picture.set_axis_off()
    map_.imshow(beliefs_TC, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    map_.set_xticks(range(beliefs_TC.shape[1]))
    map_.set_yticks([])
    map_.tick_params(labelsize=7)


def alignment(
    axes: Axes, shares_ST: np.ndarray, written: Sequence[str], read: Sequence[str]
) -> None:
    """How much of its attention each symbol written (downwards) gave to each row read."""
    axes.imshow(shares_ST, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(written)), written, parse_math=False)
    axes.set_xticks(range(len(read)), read, rotation=90, parse_math=False)
    axes.tick_params(labelsize=7)
