"""Plots: functions that draw curves, points, maps and pictures on the axes of a figure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lstm_jax.report.drawing import COLOURS, INK, Drawing, draw

MAX_TITLE = 26  # letters over a small picture
MAX_TICK_LETTERS = 60  # of all names under a figure, with two between them
LETTER = 0.065  # inches that a letter of a legend takes, about
BARS_A_DECADE = 8  # of a histogram
NUM_COLOURED = 5  # curves that have colours where there are more curves than colours
# The same gate has the same colour in every figure. The keys are how its name begins.
GATES = {"input": COLOURS[0], "forget": COLOURS[4], "output": COLOURS[2], "reset": COLOURS[3],
         "update": COLOURS[1]}  # fmt: skip
# So have the cells that are compared most. The others have the colours that are left.
CELLS = {"cell lstm": COLOURS[0], "cell gru": COLOURS[1], "cell rnn": COLOURS[4]}

Curve = tuple[Any, Any]  # x [N], and y [N], or [seeds, N]


def curves(
    axes: Axes,
    by_name: Mapping[str, Curve],
    labels: tuple[str, str],
    log: bool | None = None,
    colours: Mapping[str, str] = MappingProxyType({}),
    unjoined: Collection[str] = (),
) -> None:
    """Draws named curves, the most important first; those in `unjoined` as points without a line.

    For y of several seeds, draws the mean and a band from lowest to highest. Where there are more
    curves than colours, the first ones have colours and the others are grey. `log` makes the y axis
    logarithmic; by default that is so where y spans more than a factor of 1000.
    """
    values = {name: np.atleast_2d(np.asarray(y, float)) for name, (_, y) in by_name.items()}
    colours = colours or colours_of(by_name)
    if log is None:  # a logarithmic axis cannot show 0
        lowest = min((np.min(y) for y in values.values()), default=0.0)
        highest = max((np.max(y) for y in values.values()), default=0.0)
        log = bool(0 < lowest < highest / 1000)
    for index, (name, (x, _)) in enumerate(by_name.items()):
        y = values[name]
        if log:  # less than 1e-12 as that, more than a float32 can hold as 1e38
            y = np.clip(y, 1e-12, 1e38)
        mean = 10 ** np.mean(np.log10(y), axis=0) if log else np.mean(y, axis=0)
        grey = index >= NUM_COLOURED and len(by_name) > len(COLOURS)
        label = name
        if grey:
            last = index == len(by_name) - 1
            label = f"{len(by_name) - NUM_COLOURED} others" if last else "_nolegend_"
        # A gate's two curves have one colour: the fraction closed is dashed.
        dashed = _gate_colour(name) and name.endswith("closed")
        (line,) = axes.plot(
            x, mean, label=label, markersize=4,
            marker="o" if y.shape[1] == 1 or name in unjoined else None,
            zorder=1 if grey else 2, linewidth=0.7 if grey else 1.4,
            linestyle="none" if name in unjoined else "--" if dashed else "-",
            color="#99999988" if grey else colours[name],
        )  # fmt: skip
        if len(y) > 1 and not grey:
            axes.fill_between(
                x, y.min(axis=0), y.max(axis=0), color=line.get_color(), alpha=0.18, linewidth=0
            )
    if log:
        logarithmic(axes, "y")
    _label(axes, labels)
    if all(np.all(np.mod(x, 1) == 0) for x, _ in by_name.values()):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    entries = len(by_name) if len(by_name) <= len(COLOURS) else NUM_COLOURED + 1
    if entries > 3:  # too many to lie on the curves
        columns = 2 if max(map(len, by_name)) < 26 else 1
        axes.legend(fontsize=8, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1))
    elif entries > 1:
        axes.legend(fontsize=8)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each name; a gate and a well-known cell always have the same one."""
    names = list(names)
    fixed = {name: colour for name in names if (colour := _gate_colour(name) or CELLS.get(name))}
    left = [colour for colour in COLOURS if colour not in fixed.values()] or COLOURS
    others = [name for name in names if name not in fixed]
    return fixed | dict(zip(others, itertools.cycle(left), strict=False))


def _gate_colour(name: str) -> str | None:
    """Returns the colour of a gate, None for any other name."""
    return next((GATES[key] for key in GATES if name.startswith(f"{key} gate")), None)


def draw_panels(
    by_title: Mapping[str, Mapping[str, Curve]], labels: tuple[str, str], log: bool | None = None
) -> Drawing:
    """Returns a drawing of panels side by side, all on one scale; a name has one colour in all."""
    if len(by_title) == 1:
        (by_name,) = by_title.values()
        return draw(curves, by_name, labels, log)
    columns = len(by_title) if len(by_title) < 4 else -(-len(by_title) // 2)
    grid = -(-len(by_title) // columns), columns
    return draw(_panels, by_title, labels, log, grid=grid, size=(3.4, 2.9))


def _panels(
    axes: Sequence[Axes],
    by_title: Mapping[str, Mapping[str, Curve]],
    labels: tuple[str, str],
    log: bool | None,
) -> None:
    """Draws curves on each of the axes, with one legend for all; the axes left over stay empty."""
    colours = colours_of(dict.fromkeys(name for each in by_title.values() for name in each))
    used = axes[: len(by_title)]
    for axis, (title, by_name) in zip(used, by_title.items(), strict=True):
        curves(axis, by_name, labels, log, colours)
        axis.set_title(title, fontsize=10)
        if (legend := axis.get_legend()) is not None:
            legend.remove()
    scale = "log" if any(axis.get_yscale() == "log" for axis in used) else "linear"
    for axis in used:
        axis.set_yscale(scale)
    limits = [axis.get_ylim() for axis in used]
    for axis in used:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        if scale == "log":
            logarithmic(axis, "y")
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    canvas: Any = used[0].figure  # of which a type checker knows too little
    room = canvas.get_figwidth() / (0.5 + LETTER * max(map(len, colours)))
    columns = min(max(1, int(room)), len(colours))
    canvas.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=8)
    for axis in axes[len(used) :]:
        axis.set_axis_off()


def draw_histograms(
    by_title: Mapping[str, Mapping[str, np.ndarray]], labels: tuple[str, str]
) -> Drawing:
    """Returns a drawing of panels with histograms of named positive values, all on one logarithmic
    scale of x.
    """
    everything = np.concatenate([v for by_name in by_title.values() for v in by_name.values()])
    low, high = np.log10(np.clip([np.nanmin(everything), np.nanmax(everything)], 0.1, 1e6))
    low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    edges = np.logspace(low, high, BARS_A_DECADE * (high - low) + 1)
    centres = np.sqrt(edges[1:] * edges[:-1])
    counted = {
        title: {
            name: (centres, np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0])
            for name, values in by_name.items()
        }
        for title, by_name in by_title.items()
    }
    columns = min(len(counted), 4)
    grid = -(-len(counted) // columns), columns
    size = (5.2, 3.1) if len(counted) == 1 else (3.4, 2.9)
    return draw(_histograms, counted, labels, grid=grid, size=size)


def _histograms(
    axes: Axes | list[Axes],
    by_title: Mapping[str, Mapping[str, Curve]],
    labels: tuple[str, str],
) -> None:
    panels: list[Axes] = axes if isinstance(axes, list) else [axes]
    colours = colours_of(dict.fromkeys(name for each in by_title.values() for name in each))
    for axis, (title, by_name) in zip(panels, by_title.items(), strict=False):
        for name, (x, counts) in by_name.items():
            axis.plot(x, counts, drawstyle="steps-mid", label=name, color=colours[name], lw=1.4)
            axis.fill_between(x, counts, step="mid", color=colours[name], alpha=0.2, lw=0)
        logarithmic(axis)
        _label(axis, labels)
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        if len(by_title) > 1:
            axis.set_title(title, fontsize=10)
    panels[0].legend(fontsize=8)
    for axis in panels[len(by_title) :]:
        axis.set_axis_off()


def _label(axes: Axes, labels: tuple[str, str]) -> None:
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(True, linewidth=0.5)


def bands(axes: Axes, by_name: Mapping[str, tuple[Any, Any, Any]], labels: tuple[str, str]) -> None:
    """Draws named curves over time steps, each (middle, low, high) with the band between."""
    colours = colours_of(by_name)
    for name, (middle, low, high) in by_name.items():
        x = np.arange(1, len(middle) + 1)
        (line,) = axes.plot(x, middle, label=name, linewidth=1.4, color=colours[name])
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, lw=0)
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
    """Draws values [x, y] as colours, the best bright, with a note in each field; nan is empty.

    The worst tenth has one colour, so that the values near the best are easy to tell apart.
    """
    quantiles = [0.1, 1.0] if higher_is_better else [0.0, 0.9]
    low, high = np.nanquantile(values, quantiles) if np.isfinite(values).any() else (0.0, 1.0)
    image = axes.imshow(
        np.ma.masked_invalid(values.T), origin="lower", aspect="auto", vmin=low, vmax=high,
        cmap="viridis" if higher_is_better else "viridis_r",
    )  # fmt: skip
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


def draw_result_map(
    shares_RC: np.ndarray,
    notes_CR: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
) -> Drawing:
    """Returns a map of results: `rows` by `columns`, each with its note as text in a colour.

    `shares_RC` [R,C] holds the colours from 0 (dark) to 1 (bright); nan is drawn without a colour.
    `notes_CR` holds the texts column by column.
    """
    letters = LETTER * max(map(len, rows)) + 0.2
    lines = max(1, *(note.count("\n") + 1 for column in notes_CR for note in column))
    head = max(name.count("\n") + 1 for name in columns)
    widths = [max(map(len, "\n".join([name, *notes]).split("\n"))) for name, notes in
              zip(columns, notes_CR, strict=True)]  # fmt: skip
    width = max(0.75, LETTER * max(widths) + 0.15)
    size = letters + width * len(columns), 0.16 * head + 0.2 + (0.12 + 0.15 * lines) * len(rows)
    return draw(result_map, shares_RC, notes_CR, rows, columns, size=size)


def result_map(
    axes: Axes,
    shares_RC: np.ndarray,
    notes_CR: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    bold: Collection[tuple[int, int]] = (),
    fontsize: float = 8,
    angle: float = 0,
) -> None:
    """Draws what `draw_result_map` describes; `bold` holds positions (row, column) of notes, and
    `angle` turns the names of the columns.
    """
    edges = [np.arange(size + 1) - 0.5 for size in shares_RC.shape]
    colours = np.ma.masked_invalid(shares_RC)  # shapes without seams, sharp at every size
    axes.pcolormesh(edges[1], edges[0], colours, vmin=0, vmax=1, cmap="viridis",
                    edgecolors="face", linewidth=0.4)  # fmt: skip
    axes.set_ylim(edges[0][-1], edges[0][0])
    for (row, column), share in np.ndenumerate(shares_RC):
        colour = INK if math.isnan(share) else "white" if share < 0.6 else "black"
        axes.text(column, row, notes_CR[column][row], ha="center", va="center", fontsize=fontsize,
                  weight="bold" if (row, column) in bold else "normal", color=colour,
                  linespacing=1.05)  # fmt: skip
    turned: dict[str, Any] = {"rotation": angle, "rotation_mode": "anchor", "ha": "left"}
    axes.set_xticks(range(len(columns)), columns, fontsize=fontsize, **(turned if angle else {}))
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def confusion(axes: Axes, counts_CC: np.ndarray) -> None:
    """Draws how often each label (rows) got each answer (columns); only mistakes have colours."""
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
    """Draws points with intervals, whose arms [2, points] go down and up; nan draws none.

    `log` makes the x axis logarithmic. `names` stand at x = 0, 1, ...
    """
    axes.errorbar(x, y, yerr=arms, fmt="o", markersize=5, capsize=3, linewidth=1.2)
    if log:
        logarithmic(axes)
    if names is not None:
        _name_columns(axes, names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    _label(axes, labels)


def scatter(axes: Axes, groups: Mapping[str, Curve], labels: tuple[str, str]) -> None:
    """Draws named groups of points (x, y), x on a logarithmic scale."""
    colours = colours_of(groups)
    for name, (x, y) in groups.items():
        axes.plot(x, y, "o", label=name, markersize=4, alpha=0.8, color=colours[name])
    logarithmic(axes)
    _label(axes, labels)
    axes.legend(fontsize=8)


def _name_columns(axes: Axes, names: Sequence[str]) -> None:
    """Writes names at x = 0, 1, ...; at an angle where they would overlap."""
    crowded = sum(len(name) + 2 for name in names) > MAX_TICK_LETTERS
    angle: dict[str, Any] = {"rotation": 30, "ha": "right"} if crowded else {}
    axes.set_xticks(range(len(names)), names, **angle)


def logarithmic(axes: Axes, name: str = "x") -> None:
    """Makes the axis of this name logarithmic, with plain numbers at its ticks.

    Powers of ten, which Matplotlib writes by default, take a parser that is slow to load.
    """
    axes.set(**{f"{name}scale": "log"})
    axis: Any = getattr(axes, f"{name}axis")
    low, high = axis.get_view_interval()
    # Of many decades a locator with more than one tick in each would show none.
    subs = (1, 2, 5) if high < 1e2 * low else (1, 3) if high < 1e4 * low else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def pictures(axes: Sequence[Axes], images: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Draws images side by side, grey ones or in colour, each under its title."""
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        short = title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 3]}..."
        axis.set_title(short, fontsize=8, parse_math=False)  # names of classes may hold a dollar
    for axis in axes:
        axis.set_axis_off()


def belief(axes: Sequence[Axes], image: np.ndarray, probabilities_TC: np.ndarray) -> None:
    """Draws an image beside the class probabilities after each time step."""
    picture, heat = axes
    picture.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
    picture.set_axis_off()
    heat.imshow(probabilities_TC, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    heat.set_xticks(range(probabilities_TC.shape[1]))
    heat.set_yticks([])
    heat.tick_params(labelsize=7)


def attention(
    axes: Axes, weights_ST: np.ndarray, written: Sequence[str], read: Sequence[str]
) -> None:
    """Draws the attention that each symbol written (downwards) gave to each time step read."""
    axes.imshow(weights_ST, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(written)), written, parse_math=False)
    axes.set_xticks(range(len(read)), read, rotation=90, parse_math=False)
    axes.tick_params(labelsize=7)
