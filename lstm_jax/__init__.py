"""lstm_jax: a functional JAX research codebase for recurrent networks."""

# What is named here is imported when it is asked for: until `__main__` hears signals, which comes
# after this file, a Ctrl-C would end in a traceback. That is also why `typing` is not asked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from lstm_jax.experiment import Experiment
    from lstm_jax.search import Search
    from lstm_jax.tasks.images import Images
    from lstm_jax.use.trained import load

__all__ = ["Experiment", "Images", "Search", "load"]
__version__ = "0.2.0"

# `load` starts JAX, which `import lstm_jax` must not.
HOMES = {
    "Experiment": "experiment",
    "Images": "tasks.images",
    "Search": "search",
    "load": "use.trained",
}


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value
