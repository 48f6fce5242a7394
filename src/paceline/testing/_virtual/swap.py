"""Puts stand-ins wherever the originals are held: also in names imported long before, defaults and partials.

A program that wrote `from time import sleep` holds the function itself. The collector knows who does: all modules,
classes, instances, closures, partials, lists and default arguments that refer to an original are found in one walk.
"""

from __future__ import annotations

import gc
from functools import partial
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from .exempt import EXEMPT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Swap", "swap"]

_OWN: Final = __name__.rpartition(".")[0]
Swap = tuple[Any, Any]  # an original, and its stand-in
Undo = list["Callable[[], Any]"]


def swap(pairs: Sequence[Swap], undo: Undo | None = None) -> None:
    """Replaces each original of `pairs` by its stand-in; `undo` gets what takes it back, last first.

    Classes are replaced in the namespaces of modules only: elsewhere a class is a base, a key or a type.
    """
    news = {id(old): new for old, new in pairs}
    olds = [old for old, _ in pairs]
    undo = [] if undo is None else undo
    ours = {id(each) for each in (olds, pairs, *pairs)}
    gc.unfreeze()  # what a program has put out of the collector's sight would not be found
    behind: dict[int, Any] = {}  # class namespaces and default arguments: who holds them is found in a second walk
    for holder in gc.get_referrers(*olds):
        if id(holder) in ours or isinstance(holder, FunctionType):
            continue
        if isinstance(holder, dict):
            if "__module__" in holder and "__doc__" in holder:
                behind[id(holder)] = holder
            else:
                _in_dict(holder, news, undo)
        elif isinstance(holder, tuple):
            behind[id(holder)] = holder
        elif isinstance(holder, partial):
            _in_partial(holder, news, undo)
        elif isinstance(holder, list):
            for index, value in enumerate(holder):
                if id(value) in news and not isinstance(value, type):
                    undo.append(partial(holder.__setitem__, index, value))
                    holder[index] = news[id(value)]
        elif isinstance(holder, CellType):
            value = holder.cell_contents
            if not isinstance(value, type):
                undo.append(partial(setattr, holder, "cell_contents", value))
                holder.cell_contents = news[id(value)]
        elif not isinstance(holder, type):
            _in_instance(holder, news, undo)
    for holder in gc.get_referrers(*behind.values()) if behind else ():
        if isinstance(holder, FunctionType):
            _in_defaults(holder, behind, news, undo)
        elif isinstance(holder, type):
            _in_class(holder, news, undo)


def _spared(module: Any) -> bool:
    """Whether what that module holds stays as it is."""
    return isinstance(module, str) and (module.partition(".")[0] in EXEMPT or module.startswith(_OWN))


def _in_dict(holder: dict[Any, Any], news: dict[int, Any], undo: Undo) -> None:
    name = holder.get("__name__")
    module = isinstance(name, str) and "__loader__" in holder
    if module and _spared(name):
        return
    for key, value in list(holder.items()):
        if id(value) in news and (module or not isinstance(value, type)):
            undo.append(partial(holder.__setitem__, key, value))
            holder[key] = news[id(value)]


def _in_class(holder: type, news: dict[int, Any], undo: Undo) -> None:
    if _spared(holder.__module__):
        return
    for key, value in list(holder.__dict__.items()):
        if id(value) in news and not isinstance(value, type):
            # By the class itself, which remembers what it looked up.
            undo.append(partial(setattr, holder, key, value))
            setattr(holder, key, news[id(value)])


def _in_partial(holder: partial[Any], news: dict[int, Any], undo: Undo) -> None:
    if id(holder.func) in news and type(holder) is partial:
        rest = (holder.args, holder.keywords, holder.__dict__ or None)
        change: Any = holder.__setstate__  # type: ignore[attr-defined]
        undo.append(partial(change, (holder.func, *rest)))
        change((news[id(holder.func)], *rest))


def _in_defaults(holder: FunctionType, behind: dict[int, Any], news: dict[int, Any], undo: Undo) -> None:
    values = holder.__defaults__
    if values is None or id(values) not in behind or _spared(holder.__module__):
        return
    undo.append(partial(setattr, holder, "__defaults__", values))
    holder.__defaults__ = tuple(
        value if isinstance(value, type) else news.get(id(value), value) for value in values
    )


def _in_instance(holder: Any, news: dict[int, Any], undo: Undo) -> None:
    kind = type(holder)
    if _spared(kind.__module__):
        return
    names = [name for each in kind.__mro__ for name in _slots(each)]
    names += list(getattr(holder, "__dict__", {}))
    for name in names:
        try:
            value = object.__getattribute__(holder, name)
        except AttributeError:
            continue
        if id(value) in news and not isinstance(value, type):
            undo.append(partial(object.__setattr__, holder, name, value))
            object.__setattr__(holder, name, news[id(value)])


def _slots(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    return [
        f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
        for name in ([slots] if isinstance(slots, str) else slots)
    ]
