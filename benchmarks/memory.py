"""Peak memory of a process and all its descendants, from Linux's /proc."""

from __future__ import annotations

import threading
from pathlib import Path

INTERVAL_S = 0.25


class PeakMemory(threading.Thread):
    """Watches a process tree until `stop` is called; figures in MiB.

    Attributes:
        root_rss: Peak resident size of the root process alone.
        tree_pss: Peak of the whole tree, where a page shared by n processes counts 1/n in each (PSS). A sum of
            resident sizes would count torch's libraries and Ray's object store once for every process.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.root_rss = self.tree_pss = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            sizes = {pid: _memory(pid) for pid in _tree(self.root)}
            self.root_rss = max(self.root_rss, sizes.get(self.root, (0.0, 0.0))[0])
            self.tree_pss = max(self.tree_pss, sum(pss for _, pss in sizes.values()))

    def stop(self) -> None:
        """End the watch."""
        self._stopped.set()
        self.join()


def _tree(root: int) -> list[int]:
    """The root and its living descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _read(folder / "stat")):
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _memory(pid: int) -> tuple[float, float]:
    """(RSS, PSS) of a process; zeros when it has ended."""
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()[1:]
    sizes = {name: float(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return sizes.get("Rss", 0.0), sizes.get("Pss", 0.0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""
