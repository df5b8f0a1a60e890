"""The numerical tests on the instruction sets and thread counts that this machine has.

    python tests/isa.py [--list] [--only WORDS] [PYTEST ARGUMENT ...]

Each level is a process of its own, since the libraries read these variables once. Prints a table
of the levels and their outcomes, and the names of the tests that failed; exits with 1 if any did.

``--only avx2,numba`` runs the levels with one of these words in their names. What follows goes to
pytest: by default all numerical tests on two processes, or, say, ``tests/kernels -k dual``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import llvmlite.binding as llvm

TESTS = Path(__file__).parent
NUMERICAL = [
    *(str(TESTS / room) for room in ("kernels", "losses", "regularizers", "designs")),
    *(str(TESTS / room) for room in ("solvers", "latent", "adjoints")),
    *(str(path) for path in sorted((TESTS / "backbones").glob("test_extract*.py"))),
    *(str(TESTS / "backbones" / f"test_{name}.py") for name in ("chain", "networks", "quantized")),
    "-n2",
    "--dist=worksteal",
]


@dataclass(frozen=True)
class Level:
    """What is asked of the libraries, and what the processor needs for it."""

    name: str
    settings: dict[str, str]
    needs: tuple[str, ...] = ()  # flags of the processor, as LLVM calls them

    def lacking(self) -> str:
        """What this machine lacks, in words; empty if nothing."""
        flags = llvm.get_host_cpu_features()
        missing = [flag for flag in self.needs if not flags.get(flag)]
        return f"the processor has no {', '.join(missing)}" if missing else ""


def everywhere(threads: int, *levels: str, numba: str | None = None) -> dict[str, str]:
    """Settings by which no library goes beyond a level; OpenBLAS is that of NumPy and SciPy."""
    names = ["ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"]
    settings = dict(zip([*names, "OPENBLAS_CORETYPE"], levels, strict=True))
    settings |= dict.fromkeys(("OMP_NUM_THREADS", "PROXMTL_TEST_THREADS"), f"{threads}")
    return settings if numba is None else {**settings, "NUMBA_CPU_NAME": numba}


AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")
LEVELS = [
    Level(
        "sse4.2",
        everywhere(1, "default", "SSE4_2", "SSE41", "Nehalem", numba="generic"),
        ("sse4.2",),
    ),
    Level("avx 2 threads", everywhere(2, "default", "AVX", "AVX", "Sandybridge"), ("avx",)),
    Level("avx2 4 threads", everywhere(4, "avx2", "AVX2", "AVX2", "Haswell"), ("avx2", "fma")),
    Level("avx512", everywhere(1, "avx512", "AVX512", "AVX512_CORE", "SkylakeX"), AVX512),
    # twins of one operation at different levels
    Level("torch default", {"ATEN_CPU_CAPABILITY": "default"}),
    Level("numba generic", {"NUMBA_CPU_NAME": "generic"}),
]


def outcome(level: Level, arguments: list[str]) -> tuple[str, list[str]]:
    """Run the tests at a level: the outcome in words, and the tests that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        run = subprocess.run(
            command,
            cwd=TESTS.parent,
            # more threads than cores: one that waits must not keep another from running
            env={
                "OMP_NUM_THREADS": "1",
                "OMP_WAIT_POLICY": "PASSIVE",
                **os.environ,
                **level.settings,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            return f"pytest ended with {run.returncode}", [run.stdout[-2000:] + run.stderr[-2000:]]
        cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    said = f"{len(cases) - len(failed) - skipped} passed, {skipped} skipped, {len(failed)} failed"
    if run.returncode and not failed:
        return f"pytest ended with {run.returncode}: {said}", [run.stdout[-2000:]]
    return said, failed


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="words, with commas: levels named with one")
    parser.add_argument("--list", action="store_true", help="say the levels, run nothing")
    options, arguments = parser.parse_known_args()
    words = options.only.split(",")
    chosen = [level for level in LEVELS if any(word in level.name for word in words)]
    if not chosen:
        parser.error(f"--only: no level has {options.only!r} in its name; see --list")
    failures = 0
    say(f"{'level':18} outcome")
    for level in chosen:
        failed: list[str] = []
        settings = " ".join(f"{name}={value}" for name, value in level.settings.items())
        lacking = level.lacking()
        if lacking or options.list:
            said = f"left out: {lacking}" if lacking else "can run"
        else:
            said, failed = outcome(level, arguments or NUMERICAL)
            failures += len(failed)
        say(f"{level.name:18} {said}  ({settings})")
        for test in failed:
            say(f"  FAILED {test}")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
