"""`AlgorithmOf`: the way from a config class to its algorithm class."""

from __future__ import annotations

from typing import Any


class AlgorithmOf:
    """A config class's algorithm, or None.

    It is no plain attribute: Ray, which looks into classes and the classes that are their attributes, would never come
    back from one to the other.
    """

    def __get__(self, config: Any, owner: Any) -> Any:
        return getattr(owner, "_algorithm", (None,))[0]

    @staticmethod
    def bases(config: Any) -> tuple[type, ...]:
        """The algorithms of a config class's bases: of a method made of two, both, so that neither's steps are lost."""
        algorithms = dict.fromkeys(base.Algo for base in config.__bases__ if getattr(base, "Algo", None) is not None)
        return tuple(
            one for one in algorithms if not any(one is not each and issubclass(each, one) for each in algorithms)
        )

    @staticmethod
    def link(config: Any, algorithm: type) -> None:
        """Make an algorithm that of a config class.

        Raises:
            TypeError: the config class has one of its own that somebody wrote.
        """
        there = vars(config).get("_algorithm", (None,))[0]
        if there is not None and not there.__qualname__.endswith(".Algo"):
            raise TypeError(
                f"{algorithm.__name__}.Config = {config.__name__} is the config of {there.__name__}: write one of its "
                f"own, class {algorithm.__name__}Config({config.__name__})"
            )
        config._algorithm = (algorithm,)
