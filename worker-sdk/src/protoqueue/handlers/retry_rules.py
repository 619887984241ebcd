"""A handler's retry settings, and which errors are retried."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from protoqueue.errors import ConfigurationError
from protoqueue.protocol.retries import check_retries
from protoqueue.task import Retries

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]


@dataclass(frozen=True)
class RetryRules:
    """`retry_on` None is every error; an error of `give_up_on` is final in any case."""

    retries: Retries | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()

    @classmethod
    def read(cls, name: str, retries: Retries | None, retry_on: Errors | None, give_up_on: Errors) -> "RetryRules":
        """The rules of the handler `name`; raises ConfigurationError for invalid ones."""
        if retries is not None:
            try:
                check_retries(retries)
            except ValueError as error:
                raise ConfigurationError(f"the retries of handler {name}: {error}") from None
        on = None if retry_on is None else _classes(name, "retry_on", retry_on)
        final = _classes(name, "give_up_on", give_up_on)
        for kind in on or ():
            if issubclass(kind, final):
                raise ConfigurationError(
                    f"handler {name} cannot retry on {kind.__name__}: give_up_on has it or a base of it"
                )
        return cls(retries, on, final)

    def is_final(self, error: BaseException) -> bool:
        """Whether no further attempt is made after this error; in an exception group each error counts."""
        errors = list(_leaves(error))
        if any(isinstance(one, self.give_up_on) for one in errors):
            return True
        return self.retry_on is not None and not any(isinstance(one, self.retry_on) for one in errors)


NO_RULES = RetryRules()


def _classes(name: str, argument: str, errors: Errors) -> tuple[type[BaseException], ...]:
    classes = errors if isinstance(errors, tuple) else (errors,)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ConfigurationError(
                f"{argument} of handler {name} must be exception classes such as (TimeoutError,), not {one!r}"
            )
    return classes


def _leaves(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
