"""Machine code kept on disk for as long as every file of this folder stays as it is.

numba's own cache looks at the file of the function that is called, not at the files of what is
inlined into it: after an update it would run what it compiled from the old ones.
"""

from __future__ import annotations

import glob
import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    FunctionCache: TypeAlias = Any  # numba's have no types
    IndexDataCacheFile: TypeAlias = Any
else:
    from numba.core.caching import FunctionCache, IndexDataCacheFile


def keep(dispatcher: Any) -> Any:
    """Let a compiled function keep its machine code on disk, where there is a place to write.

    That is beside the package, or the user's cache folder where the package is read-only; where
    neither can be written, each process compiles for itself.
    """
    with suppress(Exception):
        dispatcher._cache = _Kept(dispatcher.py_func)  # noqa: SLF001 - what njit(cache=True) sets
    return dispatcher


@cache
def sources() -> str:
    """Digest of the files of this folder, as they are when the backend is imported."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class _Kept(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function: whatever goes wrong with it, the function compiles.

    A full disk, a folder that went away, a torn file, one that names a class of an older version.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp(), sources()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with suppress(Exception):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):
            super().save_overload(sig, data)


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """An index, and a file for each signature, named after what it was compiled from.

    numba numbers the files, and two processes may give one number to two signatures, or find an
    old file under a new index.
    """

    def save(self, key: Any, data: Any) -> None:
        base = self._index_name.removesuffix("nbi")
        origin = hashlib.sha256(repr((self._source_stamp, key)).encode()).hexdigest()
        name = f"{base}{origin[:20]}.nbc"
        self._save_data(name, data)
        known = {}
        with suppress(Exception):  # an old index: see `_Kept`
            known = self._load_index()
        known[key] = name
        self._save_index(known)
        for path in Path(self._cache_path).glob(f"{glob.escape(base)}*.nbc"):
            if path.name not in known.values():
                path.unlink(missing_ok=True)
