"""`ReliedOn`: a name of another package's that is not public, and whether the installed one still has it."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import NamedTuple


class ReliedOn(NamedTuple):
    """A name of another package's.

    Attributes:
        owner: A class or module that has it, or, where it is set on instances, whose methods spell it.
        name: The name.
        call: How it is called, if it is: positional arguments by name, keyword arguments as "name=".
        hook: It is overridden, so that the owner must be the one who calls it.
    """

    owner: type | ModuleType
    name: str
    call: tuple[str, ...] | None = None
    hook: bool = False

    def lack(self) -> str | None:
        """What is lacking of it, as a sentence; None where all is there."""
        name, exists = f"{self.owner.__name__}.{self.name}", hasattr(self.owner, self.name)
        spelled = self.name in _spelled_by(self.owner)
        if not exists and (self.call or not spelled):
            return f"{name} does not exist"
        if self.hook and not spelled:
            return f"{name} is not called any more"
        if self.call:
            keywords = {word[:-1]: None for word in self.call if word.endswith("=")}
            positional = [word for word in self.call if not word.endswith("=")]
            try:
                inspect.signature(getattr(self.owner, self.name)).bind(*positional, **keywords)
            except TypeError as error:
                return f"{name} does not take ({', '.join(self.call)}): {error}"
        return None


def _spelled_by(owner: type | ModuleType) -> set[str]:
    """Attributes and globals that the code of a class's methods spells, its bases' included; none for a module."""
    spelled: set[str] = set()
    for method in (each for base in getattr(owner, "__mro__", ()) for each in vars(base).values()):
        function = inspect.unwrap(method) if callable(method) else method
        spelled.update(function.__code__.co_names if hasattr(function, "__code__") else ())
    return spelled
