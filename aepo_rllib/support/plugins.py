"""Parts that users add without editing this package: looked up by the name that an option gives.

A name is one of the package's own, or of an installed distribution's entry points, or says where the object is
written: `package.module:Name` or `path/to/file.py:Name`. Such a file is imported under a name that any process of
the machine can import again, so that its classes and their objects travel by pickle like those of a package.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from aepo_rllib.support.arguments import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

METHODS_GROUP = "aepo_rllib.methods"
"""Entry points of other packages' methods: their config classes."""
ENGINES_GROUP = "aepo_rllib.engines"
"""Likewise, subclasses of `aepo_rllib.rollout.RolloutEngine`."""
DIALS_GROUP = "aepo_rllib.dials"
"""Likewise, controllers of the temperature."""
TRACKERS_GROUP = "aepo_rllib.trackers"
"""Likewise, subclasses of `aepo_rllib.cli.trackers.tracker.Tracker`."""
SHOWN = 200
"""Characters of a name that a message repeats."""


class Lazy(Mapping[str, Any]):
    """A table of objects by name that are imported when looked up; written as `module:name`."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._places[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places  # the default would import


def find(
    what: str, name: str, builtin: Mapping[str, T], group: str, *, kind: str = "name", base: type | None = None
) -> T:
    """The object that an option names. May import modules of the user's, which runs them.

    Args:
        what: The option, as messages call it.
        name: One of `builtin`, else of the entry points, else `module:name` or `path/to/file.py:name`.
        builtin: The package's own objects by name; no entry point hides one.
        group: Group of entry points.
        kind: What is looked for: "class", "function" ...
        base: The class that it has to be a subclass of, if any.

    Raises:
        ValueError: there is none, it cannot be imported, or it is of another kind; names option, value and cure.
    """
    if not isinstance(name, str):
        raise ValueError(f"{what}={name!r:.{SHOWN}} must be a name")
    if name in builtin:
        return builtin[name]
    found = load(what, name, kind=kind) if is_own(name) else _of_entry_point(what, name, builtin, group, kind)
    if base is not None and not (inspect.isclass(found) and issubclass(found, base)):
        raise ValueError(f"{what} {name!r:.{SHOWN}}: {found!r:.{SHOWN}} is no subclass of {base.__name__}")
    return found


def known(builtin: Mapping[str, Any], group: str) -> tuple[str, ...]:
    """All names there are: the package's own in their order, then those of entry points."""
    return (*builtin, *sorted({point.name for point in _entry_points(group)} - set(builtin)))


def is_own(name: str) -> bool:
    """Whether a name says where its object is written."""
    return ":" in name


def absolute(name: str) -> str:
    """The name with an absolute path, where it has one: other processes may work in other folders."""
    place, colon, attribute = name.rpartition(":")
    return f"{Path(place).resolve()}{colon}{attribute}" if colon and place.endswith(".py") else name


def load(what: str, name: str, *, kind: str = "name") -> Any:
    """The object at `module:name` or `path/to/file.py:name`. Importing the module runs it, once a process.

    Modules are also looked for in the working directory, and a file may import its neighbours.

    Raises:
        ValueError: no such module, file or object, or the module raises; see `find`.
    """
    shown = f"{what} {name!r:.{SHOWN}}"
    place, _, attribute = name.rpartition(":")
    if not place.strip(":") or place.endswith(":") or not attribute.isidentifier():
        raise ValueError(f"{shown}: write module:{kind}, or path/to/file.py:{kind}")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except (Exception, SystemExit) as error:  # a module of the user's may raise what it likes
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{shown}: {place} cannot be imported ({reason})") from error
    if not hasattr(module, attribute):
        public = [each for each in vars(module) if not each.startswith("_")]
        raise ValueError(f"{shown}: {place} has no {kind} {attribute}{did_you_mean(attribute, public)}")
    return getattr(module, attribute)


def _of_entry_point(what: str, name: str, builtin: Mapping[str, Any], group: str, kind: str) -> Any:
    shown, points = name[:SHOWN], {point.value: point for point in _entry_points(group) if point.name == name}
    if not points:
        names = known(builtin, group)
        raise ValueError(
            f"unknown {what} {shown!r}; known: {', '.join(sorted(names))}, or module:{kind} (also "
            f"path/to/file.py:{kind}) for one of your own{did_you_mean(shown, names)}"
        )
    if len(points) > 1:
        raise ValueError(
            f"{what} {name!r} is {' and '.join(sorted(points))} of installed packages; name one of these instead"
        )
    (point,) = points.values()
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        source = f"{point.value} of {point.dist.name}" if point.dist else point.value
        raise ValueError(f"{what} {name!r}: {source} cannot be imported ({type(error).__name__}: {error})") from error


def _entry_points(group: str) -> Sequence[EntryPoint]:
    from importlib.metadata import entry_points  # some 20 ms, which most lookups can do without

    return tuple(entry_points(group=group))


def _import_module(name: str) -> ModuleType:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a command does not look there by itself, and this is where users keep theirs
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    # The path is the name: it hides no other module, such as the json of a json.py, and says where to find it again.
    return importlib.import_module(_PREFIX + quote(str(path.resolve().with_suffix(""))).replace(".", "%2E"))


class _FileFinder(MetaPathFinder):
    """Finds the modules that `_import_file` names, in any process: to import one is to import its parent first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        file = Path(unquote(fullname.removeprefix(_PREFIX)) + ".py")
        if not file.is_file():
            return None
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))  # it may import its neighbours
        return spec_from_file_location(fullname, file)


_PREFIX = f"{__name__}."
__path__: list[str] = []
"""What makes this module a package, the parent of users' files."""
sys.meta_path.append(_FileFinder())
