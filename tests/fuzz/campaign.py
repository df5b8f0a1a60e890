"""A campaign against one parser: atheris in a child process, started again when it is brought down.

A finding of Python's (an exception that a parser may not raise) is written down, and the search
goes on; what brings down the process (a crash in C, a hang, memory without bounds) is kept by
libFuzzer, and the search begins again with what it has learnt.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS, check

__all__ = ["Campaign", "replay"]

INSTRUMENTED = [
    "proxmtl", "json", "csv", "tomllib", "tarfile", "zipfile", "numpy.lib", "safetensors",
]  # fmt: skip
HANGS_AFTER = 25
"""Seconds that one small file may take."""
MEMORY = 3000
"""MiB that the process may take, of which imports are some 600."""
MOST_RESTARTS = 20


class Campaign:
    """A target, with a folder for its corpus and findings.

    Parameters
    ----------
    name
        Of the target.
    folder
        Is made if missing.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.corpus, self.findings = folder / "corpus", folder / "findings"
        for path in (self.corpus, self.findings):
            path.mkdir(parents=True, exist_ok=True)

    def run(self, seconds: float) -> dict[str, Any]:
        """Search for so long.

        Returns
        -------
        dict
            Seconds, executions, places reached, and the findings, each with what happened.

        Raises
        ------
        RuntimeError
            If nothing was executed and nothing found: the search didn't start. With the last lines
            of what its process said.
        """
        for content in TARGETS[self.name].files():
            (self.corpus / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
        self._try_again()
        begin, executions, reached, said = time.monotonic(), 0, 0, ""
        for _ in range(MOST_RESTARTS):
            left = seconds - (time.monotonic() - begin)
            if left < 1:
                break
            said = self._search(left)
            executions += _last(r"(?:#|executed_units:\s*)(\d+)", said)
            reached = max(reached, _last(r"cov: (\d+)", said))
            if not (executions or self._found()):
                break
        findings = self._found()
        if not (executions or findings):
            last = "\n".join(said.splitlines()[-15:]) or f"no time for it in {seconds} s"
            raise RuntimeError(f"{self.name}: the search didn't start:\n{last}")
        return {
            "seconds": round(time.monotonic() - begin),
            "executions": executions,
            "reached": reached,
            "findings": findings,
        }

    def _search(self, seconds: float) -> str:
        work = f"search({self.name!r}, {str(self.findings)!r})"
        command = [
            sys.executable,
            "-c",
            f"from tests.fuzz.campaign import search; {work}",
            f"-max_total_time={round(seconds)}",
            f"-timeout={HANGS_AFTER}",
            f"-rss_limit_mb={MEMORY}",
            f"-artifact_prefix={self.findings}/",
            "-max_len=65536",
            "-print_final_stats=1",
            str(self.corpus),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        said = done.stderr.decode(errors="replace")
        for artifact in self.findings.glob("*-*"):  # crash-, timeout-, oom- and a digest
            content, kept = artifact.read_bytes(), artifact.name.replace("-", "_", 1)
            artifact.rename(artifact.with_name(kept))
            artifact.with_name(f"{kept}.txt").write_text("\n".join(said.splitlines()[-60:]))
            for path in self.corpus.iterdir():  # or the next search would begin with it
                if path.read_bytes() == content:
                    path.unlink()
        return said

    def _try_again(self) -> None:
        """Begin with what was found before: what is still one will be found again."""
        for path in self.findings.iterdir():
            if path.suffix == ".txt":
                path.unlink()
            else:
                path.rename(self.corpus / path.name)

    def _found(self) -> list[str]:
        """First lines of what happened."""
        notes = sorted(self.findings.glob("*.txt"))
        return [
            f"{note.stem}: {(note.read_text().splitlines() or [''])[0][:300]}" for note in notes
        ]


def _last(pattern: str, text: str) -> int:
    return int((re.findall(pattern, text) or ["0"])[-1])


def search(name: str, findings: str) -> None:
    """Be the child process: parse what atheris makes up, until the time is over."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        target = TARGETS[name]
        for content in target.files():  # imports what the parser needs
            check_in_folder(name, content)

    def one_input(content: bytes) -> None:
        try:
            check_in_folder(name, content)
        except Exception as error:  # noqa: BLE001 - all of them are findings
            _keep(Path(findings), content, error)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def check_in_folder(name: str, content: bytes) -> str:
    """Parse bytes in a folder of their own."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        return check(TARGETS[name], folder, content)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(findings: Path, content: bytes, error: Exception) -> None:
    """Keep the smallest input for each place and kind of error."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/tests/" not in frame.filename]
    place = [(frame.filename, frame.lineno) for frame in own[-1:]]
    kind = re.sub(r"[\d'\"].*", "", str(error)) if not own else ""
    digest = hashlib.sha256(repr((type(error).__name__, place, kind)).encode()).hexdigest()[:12]
    path = findings / digest
    if path.exists() and path.stat().st_size <= len(content):
        return
    path.write_bytes(content)
    lines = [f"{type(error).__name__}: {error}", *traceback.format_exception(error)]
    path.with_suffix(".txt").write_text("\n".join(lines))


def replay(name: str, path: Path) -> str:
    """Parse a finding again; give the sentence, or raise what it raises."""
    return check_in_folder(name, path.read_bytes()) or "read without an error"
