"""`Declared`: a config whose options are those that its class and its bases declare, and setters that know them."""

from __future__ import annotations

import copy
import functools
import inspect
import textwrap
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, TypeVar

from ray.rllib.algorithms.algorithm_config import NotProvided

from aepo_rllib.support.arguments import did_you_mean
from aepo_rllib.support.options import Option

Method = TypeVar("Method", bound=Callable[..., Any])
WIDTH = 108


class Declared:
    """Mixed into an `AlgorithmConfig`, in front of it."""

    @classmethod
    def declared(cls) -> dict[str, Option]:
        """Declared options by name, the bases' first.

        A class may declare an option of its base's anew, or give it another default: `clip_high = 0.28` in its body.
        """
        found: dict[str, Option] = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, Option):
                    found[name] = value
                elif name in found:
                    found[name] = replace(found[name], default=value)
        return found

    def set_defaults(self) -> None:
        """Plain attributes with the defaults."""
        for name, declared in self.declared().items():
            setattr(self, name, copy.deepcopy(declared.default))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in [*vars(cls).items()]:
            if isinstance(value, Option) and value.kind is int and "float" in str(cls.__annotations__.get(name)):
                setattr(cls, name, replace(value, kind=float))  # `option(1, ...)` of a float
        declared = cls.declared()
        for function in vars(cls).values():
            if getattr(function, "is_setter", False):
                function.__doc__ = _documented(function, declared)


def check_body(cls: type[Declared], rllib: Collection[str]) -> None:
    """Refuse what stands in the body of a config class and would do nothing there, or hide something.

    Args:
        cls: The class.
        rllib: RLlib's options that a body may give another default.

    Raises:
        TypeError: names the class, the attribute and the cure.
    """
    declared = cls.declared()
    base: Any = cls.__mro__[1]
    inherited = {name for each in base.__mro__ for name in vars(each)} - {*base.declared()}
    for name, value in vars(cls).items():
        here = f"{cls.__name__}.{name}"
        if isinstance(value, Option):
            if name in rllib or name in inherited:
                raise TypeError(f"{here}: RLlib or a base has that name; write {name} = VALUE, or choose another")
        elif name == "training_step":
            raise TypeError(f"{here}: a training step belongs to the algorithm, a class with Config = {cls.__name__}")
        elif not (name in declared or name in rllib or name[0] == "_" or not name.islower() or _is_code(value)):
            known = did_you_mean(name, [*declared, *rllib])
            raise TypeError(f"{here} = {value!r:.60} is no option{known}; declare one by option(default, words)")


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, property | classmethod | staticmethod | functools.cached_property)


def setter(method: Method) -> Method:
    """A fluent setter of declared options: those it is given are set, and the method is called with the rest.

    Its signature names the options, so that an editor completes them; words come from their declarations. One that
    takes further keywords sets every declared option: a method of one's own needs no setter of its own.
    """
    parameters = inspect.signature(method).parameters.values()
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}

    @functools.wraps(method)
    def set_options(self: Any, **given: Any) -> Any:
        own = {name: given.pop(name) for name in [*given] if name in (self.declared() if takes_all else names)}
        method(self, **given)
        for name, value in own.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    set_options.is_setter = True  # type: ignore[attr-defined]
    return set_options  # type: ignore[return-value]


def _documented(function: Callable[..., Any], declared: dict[str, Option]) -> str:
    """The method's docstring with the declared words of its options."""
    lines = [inspect.cleandoc(function.__doc__ or "").split("\nArgs:")[0].rstrip(), "", "Args:"]
    for name in inspect.signature(function).parameters:
        if name in declared:
            text = f"{name}: {declared[name].words} ({declared[name].values()}; default {declared[name].default!r})"
            lines += textwrap.wrap(
                text, WIDTH, break_on_hyphens=False, initial_indent="    ", subsequent_indent="        "
            )
    return "\n".join([*lines, "", "Returns:", "    This updated AlgorithmConfig object."])
