"""The figures and tables of a study's file: a kind by itself, or a view under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aepo_rllib.cli.study.file import StudyFile
from aepo_rllib.study.views import ALL, CHECKPOINT, COLUMNS, VIEW_KEYS, Kind, View
from aepo_rllib.support.arguments import unknown
from aepo_rllib.support.options import check_values

KIND, ARMS, TITLE = "kind", "arms", "title"
_NAME = re.compile(r"\w{1,60}", re.ASCII)


class ViewReader:
    """Reads `[KIND, ...]` and `{KIND: [ARM, ...]}`, views called as their kind, and `{NAME: {kind: KIND, ...}}`.

    Args:
        file: Where they stand.
        values: The study's.
        rows: Names of what can be shown: the arms, and the untrained model.
        columns: Of the study's own.
        checkpoints: Which are evaluated.
    """

    def __init__(
        self,
        file: StudyFile,
        values: Mapping[str, Any],
        rows: Collection[str],
        columns: Collection[str],
        checkpoints: Collection[str],
    ) -> None:
        self._file, self._values, self._rows, self._columns = file, values, rows, (*COLUMNS, *columns)
        self._checkpoints = checkpoints

    def read(self, key: str, kinds: Mapping[str, Kind], *, every: Sequence[str]) -> list[View]:
        """Figures or tables.

        Args:
            key: `figures` or `tables`.
            kinds: Of them.
            every: What `all` means.

        Raises:
            ValueError: a name, kind, key, arm or column that does not fit; names file, line and key.
        """
        given = self._values.get(key) or {}
        views = []
        for name, wanted in (given if isinstance(given, Mapping) else dict.fromkeys(given, ALL)).items():
            with self._file.within(key, str(name)):
                entry = {KIND: name, **(wanted if isinstance(wanted, Mapping) else {ARMS: wanted})}
                views.append(self._view(str(name), entry, kinds, every))
        return views

    def _view(self, name: str, entry: Mapping[str, Any], kinds: Mapping[str, Kind], every: Sequence[str]) -> View:
        check_values({key: entry[key] for key in entry.keys() & VIEW_KEYS.keys()}, VIEW_KEYS)
        kind = kinds.get(entry[KIND])
        if kind is None:
            raise ValueError(unknown(KIND, entry[KIND], kinds))
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a figure or table: letters, digits and _")
        keys = (*kind.keys, *([CHECKPOINT] if kind.scores else []))
        known = (KIND, ARMS, TITLE, *keys)
        for key in entry:
            if key not in known:
                raise ValueError(unknown("key", key, known))
        arms = entry.get(ARMS, ALL)
        own = {key: entry[key] for key in keys if key in entry}
        view = View(name, kind, tuple(every) if arms == ALL else tuple(arms), entry.get(TITLE, ""), **own)
        for what, names, there in (
            ("arm", view.arms, self._rows),
            ("arm in minus", view.minus, self._rows),
            ("name in columns", view.columns, self._columns),
            (CHECKPOINT, [view.checkpoint] if view.checkpoint else [], self._checkpoints),
        ):
            for each in names:
                if each not in there:
                    raise ValueError(unknown(what, each, there))
        return view
