"""A user's folder of examples: a folder for each class, in folders by split or not."""

from __future__ import annotations

from pathlib import Path

SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}


def split_folders(path: Path) -> dict[str, Path]:
    """Returns the folder of each split, or the folder itself as that of training."""
    words = {word: split for split, spellings in SPELLINGS.items() for word in spellings}
    folders = {words[f.name.lower()]: f for f in subfolders(path) if f.name.lower() in words}
    return folders if "train" in folders else {"train": path}


def subfolders(path: Path) -> list[Path]:
    """Returns the folders in a folder that are not hidden, in the order of their names."""
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
