"""Give one module another source, here and in the processes that are started from here.

Python imports a module of this name when it starts, if its folder is in ``PYTHONPATH``. The files
on disk stay as they are, and so does the machine code that is cached beside them.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from pathlib import Path

VARIABLE = "PROXMTL_MUTANT"


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name, path, source):
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname):
        return compile(self._source, self.get_filename(fullname), "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module, path, source):
        self._module, self._path, self._source = module, path, source

    def find_spec(self, fullname, path=None, target=None):  # noqa: ARG002 - the protocol
        if fullname != self._module:
            return None
        file = Path(self._path)
        return importlib.util.spec_from_file_location(
            fullname,
            self._path,
            loader=_Loader(fullname, self._path, self._source),
            submodule_search_locations=[str(file.parent)] if file.name == "__init__.py" else None,
        )


def install():
    """Put the finder of the mutant in front, if this process has one."""
    if VARIABLE in os.environ:
        mutant = json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8"))
        sys.meta_path.insert(0, _Finder(mutant["module"], mutant["path"], mutant["source"]))


install()
