"""Folders of examples: one folder for each class, perhaps in folders of training and test."""

from __future__ import annotations

from pathlib import Path

from lstm_jax.data.dataset import Say

SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
MAX_NAMES = 12  # in a message


class FolderWalk:
    """A walk through a folder that follows no link out of it, and enters no folder twice.

    Hidden files and folders are leftovers of systems, and are not seen.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()
        self._left_out: dict[Path, None] = {}  # links, in the order of the walk
        self._entered: set[Path] = set()

    def split_folders(self, say: Say) -> dict[str, Path]:
        """Returns the folder of each split; that of training is the whole folder if none is named
        so. `say` prints which folders beside that of training are left out.
        """
        words = {word: split for split, spellings in SPELLINGS.items() for word in spellings}
        subfolders = self.subfolders(self.path)
        folders = {words[f.name.lower()]: f for f in subfolders if f.name.lower() in words}
        if "train" not in folders:
            return {"train": self.path}
        others = [f.name for f in subfolders if f not in folders.values()]
        if others:
            shown = ", ".join(others[:MAX_NAMES])
            say(f"{self.path}: left out {shown}, beside the folder of training")
        return folders

    def entries(self, folder: Path) -> list[Path]:
        """Returns what lies in a folder, in the order of the names."""
        kept = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_symlink() and not self._stays_inside(path):
                self._left_out[path] = None
            else:
                kept.append(path)
        return kept

    def subfolders(self, folder: Path) -> list[Path]:
        """Returns the folders in a folder, in the order of their names."""
        return [path for path in self.entries(folder) if path.is_dir()]

    def files(self, folder: Path) -> list[Path]:
        """Returns what lies in a folder, however deep, but folders, in the order of the paths."""
        files, waiting = list[Path](), [folder]
        while waiting:
            each = waiting.pop()
            if each.resolve() in self._entered:
                continue
            self._entered.add(each.resolve())
            entries = self.entries(each)
            waiting += [path for path in entries if path.is_dir()]
            files += [path for path in entries if not path.is_dir()]
        return sorted(files)

    def say_left_out(self, say: Say) -> None:
        """Prints how many links were not followed."""
        if self._left_out:
            say(
                f"{self.path}: left out {len(self._left_out):,} links that lead out of the folder "
                f"or nowhere, such as {next(iter(self._left_out))}"
            )

    def _stays_inside(self, link: Path) -> bool:
        try:
            return link.resolve(strict=True).is_relative_to(self._root)
        except (OSError, RuntimeError):  # it leads nowhere, or to itself
            return False
