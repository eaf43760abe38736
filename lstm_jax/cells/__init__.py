"""The cells and layers that an experiment can name. A new one is one file and one line here.

This file does not import JAX: the command line needs the names before JAX starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_jax.errors import UserError, did_you_mean
from lstm_jax.plugins import FILE_ATTRIBUTE, defined_names, is_file_attribute, load_attribute

Source = tuple[Path, bytes]
if TYPE_CHECKING:
    from lstm_jax.cells.cell import Cell

CELLS = {
    "lstm": "lstm_jax.cells.lstm:lstm_cell",
    "gru": "lstm_jax.cells.gru:gru_cell",
    "rnn": "lstm_jax.cells.rnn:rnn_cell",
    "irnn": "lstm_jax.cells.rnn:irnn_cell",
    "lstm_peephole": "lstm_jax.cells.odyssey:peephole_cell",
    "lstm_cifg": "lstm_jax.cells.odyssey:cifg_cell",
    "lstm_nig": "lstm_jax.cells.odyssey:nig_cell",
    "lstm_nfg": "lstm_jax.cells.odyssey:nfg_cell",
    "lstm_nog": "lstm_jax.cells.odyssey:nog_cell",
    "lstm_niaf": "lstm_jax.cells.odyssey:niaf_cell",
    "lstm_noaf": "lstm_jax.cells.odyssey:noaf_cell",
    "lstm_fgr": "lstm_jax.cells.odyssey:fgr_cell",
    "lstm_layernorm": "lstm_jax.cells.layernorm_lstm:lstm_layernorm_cell",
    "mgu": "lstm_jax.cells.minimal:mgu_cell",
    "janet": "lstm_jax.cells.minimal:janet_cell",
    "brc": "lstm_jax.cells.bistable:brc_cell",
    "nbrc": "lstm_jax.cells.bistable:nbrc_cell",
    "indrnn": "lstm_jax.cells.diagonal:indrnn_cell",
    "sru": "lstm_jax.cells.diagonal:sru_cell",
    "paragru": "lstm_jax.cells.diagonal:paragru_cell",
    "paragru_heads": "lstm_jax.cells.diagonal:paragru_heads_cell",
    "paralstm": "lstm_jax.cells.diagonal:paralstm_cell",
    "cornn": "lstm_jax.cells.oscillators:cornn_cell",
    "unicornn": "lstm_jax.cells.oscillators:unicornn_cell",
    "slstm": "lstm_jax.cells.slstm:slstm_cell",
    "slstm_heads": "lstm_jax.cells.slstm:slstm_heads_cell",
    "scornn": "lstm_jax.cells.orthogonal:scornn_cell",
    "lem": "lstm_jax.cells.staged:lem_cell",
    "gru_reset_before": "lstm_jax.cells.staged:gru_reset_before_cell",
    "mgu_gate_before": "lstm_jax.cells.staged:mgu_gate_before_cell",
    "qrnn": "lstm_jax.cells.linear_gated:qrnn_cell",
    "hgrn": "lstm_jax.cells.linear_gated:hgrn_cell",
    "rglru": "lstm_jax.cells.linear_gated:rglru_cell",
    "mingru": "lstm_jax.cells.linear_gated:mingru_cell",
    "minlstm": "lstm_jax.cells.linear_gated:minlstm_cell",
    "lru": "lstm_jax.cells.state_space:lru_cell",
    "s5": "lstm_jax.cells.s5:s5_cell",
    "linoss": "lstm_jax.cells.state_space:linoss_cell",
}

# Layers, whose state is more than [B,H] arrays: see `cells/layer.py`.
LAYERS = {
    "mlstm": "lstm_jax.cells.matrix_memory:mlstm",
    "gated_deltanet": "lstm_jax.cells.matrix_memory:gated_deltanet",
    "gated_deltanet_neg": "lstm_jax.cells.matrix_memory:gated_deltanet_neg",
}


_cells: dict[str, tuple[Source, Any]] = {}  # what `get_cell_or_layer` has returned, by name


def get_cell(name: str) -> Cell:
    """Returns the cell with this name; see `get_cell_or_layer`. Raises UserError for a layer."""
    from lstm_jax.cells.cell import Cell

    cell = get_cell_or_layer(name)
    if not isinstance(cell, Cell):
        raise UserError(f"cell: {name} is a layer; this needs a Cell, whose states have names")
    return cell


def get_cell_or_layer(name: str) -> Any:
    """Returns the cell or layer with a name in the tables, or that of
    `path/to/file.py:attribute`; see `cells/layer.py`.

    The same name gives the same object, so that its programs are compiled once. Raises UserError
    where there is no such cell.
    """
    if name not in _cells:
        from lstm_jax.cells.cell import Cell
        from lstm_jax.cells.layer import is_layer, why_not_layer

        path = CELLS.get(name) or LAYERS.get(name) or check_cell(name)
        source = _source(name)
        cell = load_attribute(
            "cell", path, lambda value: isinstance(value, Cell) or is_layer(value), why_not_layer
        )
        _cells[name] = source, cell
    return _cells[name][1]


def is_loaded_cell(name: str) -> bool:
    """Returns whether this process has loaded a cell with this name."""
    return name in _cells


def _source(name: str) -> Source:
    """Returns the file that a name stands for now, and its content."""
    path = Path(name.rpartition(":")[0]).resolve()
    return path, path.read_bytes() if is_file_attribute(name) and path.is_file() else b""


def reload_cells() -> None:
    """Forgets cells whose files have changed since they were loaded, and all compiled programs.

    A notebook may edit a cell between two runs, and JAX knows its programs by its name alone.
    """
    files = {name: source for name, (source, _) in _cells.items() if is_file_attribute(name)}
    stale = [name for name, source in files.items() if source != _source(name)]
    if stale:
        import jax

        for name in stale:
            del _cells[name]
        jax.clear_caches()


def check_cell(name: str) -> str:
    """Returns the name. Raises UserError where no cell can have it. Imports no file."""
    names = [*CELLS, *LAYERS]
    path = Path(name)
    if name not in names and path.suffix == ".py" and path.is_file():
        inside = defined_names(path)
        has = f"{path} has {', '.join(inside)}" if inside else "a file is not enough"
        raise UserError(f"cell: {has}; write {path}:{inside[-1] if inside else 'NAME'}")
    if name not in names and not is_file_attribute(name):
        raise UserError(
            f"cell: no cell {name!r}.{did_you_mean(name, names)} There are {', '.join(names)}; "
            f"a cell of your own is {FILE_ATTRIBUTE}"
        )
    return name
