"""Reads pickles of others: nothing that they name is run, time and memory are bounded.

A pickle is a program. Beside naming functions to call, it can build a tuple of twice
the same tuple, sixty times over, and take it as a key: hashing it would go on for
ever. It can also ask for an object with each of its bytes.
"""

import pickle
from collections.abc import Iterable
from typing import Any

OPERATIONS = 1_000_000  # a checkpoint of PyTorch has about 40 for each tensor
_ATOMS = (str, bytes, int, float, bool, type(None))
_Unpickler: Any = pickle._Unpickler  # pyright: ignore[reportAttributeAccessIssue]


def check_keys(keys: Iterable[Any]) -> None:
    """Raises UnpicklingError for a key that may take longer to hash than to read."""
    for key in keys:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(map(_is_simple, parts)):
            raise pickle.UnpicklingError("it has containers of containers as keys")


def _is_simple(value):
    # An object that is no container hashes by its identity.
    return isinstance(value, _ATOMS) or type(value).__hash__ is object.__hash__


class Bounded(_Unpickler):
    """A base for unpicklers, whose `find_class` says what a pickle may name.

    It is the interpreter that is written in Python: that in C cannot be watched, and
    reserves as much memory as a pickle says for its memo.
    """

    def __init__(self, file, **kwargs):
        super().__init__(file, **kwargs)
        self._left = OPERATIONS

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks to run {module}.{name}")

    def count(self) -> None:
        """Called before each operation."""
        self._left -= 1
        if self._left < 0:
            raise pickle.UnpicklingError(f"it takes more than {OPERATIONS} operations")


def _counted(operation, keys=lambda stack: ()):
    def run(self):
        self.count()
        check_keys(keys(self.stack))
        operation(self)

    return run


_KEYS = {
    pickle.SETITEM: lambda stack: stack[-2:-1],
    pickle.SETITEMS: lambda stack: stack[::2],
    pickle.DICT: lambda stack: stack[::2],
    pickle.ADDITEMS: lambda stack: stack,
    pickle.FROZENSET: lambda stack: stack,
}
# Would reserve as much memory as they say, before there are as many bytes.
_REFUSED = {pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER}
Bounded.dispatch = {
    code: _counted(operation, *(v for k, v in _KEYS.items() if k[0] == code))
    for code, operation in _Unpickler.dispatch.items()
    if bytes([code]) not in _REFUSED
}
