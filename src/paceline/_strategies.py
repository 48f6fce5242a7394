"""tenacity's strategies from outside: asked with given numbers instead of a clock, printed, compared."""

from __future__ import annotations

from typing import Any, Final

from tenacity import Future, RetryCallState, Retrying

__all__ = ["alike", "call_state", "text_of"]

# RetryCallState wants the object that retries; strategies only ever print it.
_RETRYING: Final = Retrying(reraise=True)
_JOINED: Final = {
    "stop_any": ("stops", " | "),
    "stop_all": ("stops", " & "),
    "wait_combine": ("wait_funcs", " + "),
}


def call_state(
    number: int, elapsed: float, idle: float, result: Any, error: BaseException | None
) -> RetryCallState:
    """What a strategy looks at after attempt `number`, `elapsed` seconds since the start, `idle` of them slept."""
    state = RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = number
    state.start_time, state.outcome_timestamp = 0.0, elapsed
    state.idle_for = idle
    state.outcome = Future.construct(number, result if error is None else error, error is not None)
    return state


def text_of(value: Any) -> str:
    """A strategy as one would write it, since tenacity's own print as addresses."""
    kind = type(value)
    if not kind.__module__.startswith("tenacity."):
        if isinstance(value, frozenset):
            return "{" + ", ".join(repr(each) for each in sorted(value)) + "}"
        return str(getattr(value, "__qualname__", None) or repr(value))
    if kind.__name__ in _JOINED:
        attribute, sign = _JOINED[kind.__name__]
        return sign.join(text_of(each) for each in getattr(value, attribute))
    facts = vars(value)
    if len(facts) == 1:
        only = next(iter(facts.values()))
        parts = [text_of(each) for each in only] if isinstance(only, tuple) else [text_of(only)]
    else:
        parts = [f"{name}={text_of(each)}" for name, each in facts.items()]
    return f"{kind.__name__}({', '.join(parts)})"


def _shape(value: Any) -> Any:
    """What makes two strategies the same: tenacity's compare by address, and would differ once pickled."""
    kind = type(value)
    if kind.__module__.startswith("tenacity."):
        return kind, [(name, _shape(each)) for name, each in sorted(vars(value).items())]
    if isinstance(value, tuple):
        return [_shape(each) for each in value]
    return value


def alike(one: Any, other: Any) -> bool:
    """Whether two values, strategies among them, mean the same."""
    return bool(_shape(one) == _shape(other))
