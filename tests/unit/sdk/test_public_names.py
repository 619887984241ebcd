import importlib
import inspect

import protoqueue
from protoqueue import errors


def test_all_is_sorted_complete_and_importable() -> None:
    assert protoqueue.__all__ == sorted(protoqueue.__all__)
    public = {
        name for name, value in vars(protoqueue).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(protoqueue.__all__)


def test_every_error_is_public_derives_from_one_base_and_is_in_the_tree_the_docstring_draws() -> None:
    found = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    for name, value in found.items():
        assert issubclass(value, protoqueue.ProtoQueueError)
        assert getattr(protoqueue, name) is value
        assert name in (errors.__doc__ or "")


def test_importing_the_sdk_has_no_side_effects_on_logging() -> None:
    import logging

    before = list(logging.getLogger().handlers)
    importlib.reload(protoqueue)
    assert logging.getLogger().handlers == before
