"""Two hosts on one machine: network namespaces, joined by a cable that can be cut."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["Hosts", "lacking"]

ROOT = Path(__file__).parents[1]


def _ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True, text=True)


def lacking():
    """Why there can be no hosts here; blank if there can."""
    try:
        with Hosts():
            return ""
    except FileNotFoundError:
        return "there is no command ip"
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.strip()}"


class Hosts:
    """Two hosts, ``10.213.77.1`` and ``10.213.77.2``; processes in them end with the block."""

    def __init__(self):
        self.names = [f"proxmtl-{os.getpid()}-{number}" for number in range(2)]
        self.addresses = ["10.213.77.1", "10.213.77.2"]
        self.processes = []

    def __enter__(self):
        for left in Path("/run/netns").glob("proxmtl-*-*"):  # by a run that was killed
            if not Path("/proc", left.name.split("-")[1]).exists():
                subprocess.run(["ip", "netns", "del", left.name], check=False, capture_output=True)
        try:
            for name in self.names:
                _ip("netns", "add", name)
            # made inside: the machine's own interfaces are left alone
            first, second = self.names
            _ip("-n", first, "link", "add", "cable", "type", "veth",
                "peer", "name", "cable", "netns", second)  # fmt: skip
            for name, address in zip(self.names, self.addresses, strict=True):
                _ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "link", "set", "cable", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # what it has started, too
            process.wait()
            process.stderr.close()
        for name in self.names:  # its interfaces go with it
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def cut(self):
        """Cut the cable."""
        _ip("-n", self.names[1], "link", "set", "cable", "down")

    def mend(self):
        """Put it together again."""
        _ip("-n", self.names[1], "link", "set", "cable", "up")

    def start(self, number, *arguments, env=None):
        """Start Python on a host."""
        surroundings = {
            name: value
            for name, value in os.environ.items()
            if name not in {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
        }
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[number], sys.executable, *map(str, arguments)],
            env={
                **surroundings,
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "cable",
                "PYTHONPATH": str(ROOT / "tests"),
                **(env or {}),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.processes.append(process)
        return process

    def torchrun(self, script, *arguments):
        """Start a process of a script on each host, by torchrun."""
        return [
            self.start(
                number,
                "-m",
                "torch.distributed.run",
                "--nnodes",
                2,
                "--nproc-per-node",
                1,
                "--rdzv-backend",
                "c10d",
                "--rdzv-id",
                "test",
                "--rdzv-endpoint",
                f"{self.addresses[0]}:29400",
                # by name both are the same machine
                "--rdzv-conf",
                f"is_host={int(number == 0)}",
                "--local-addr",
                self.addresses[number],
                script,
                *arguments,
            )
            for number in range(2)
        ]

    def srun(self, script, *arguments):
        """Start a process of a script on each host, in the environment that Slurm gives."""
        return [
            self.start(
                number,
                script,
                *arguments,
                env={
                    "SLURM_PROCID": str(number),
                    "SLURM_STEP_NUM_TASKS": "2",
                    "SLURM_LOCALID": "0",
                    "MASTER_ADDR": self.addresses[0],
                    "MASTER_PORT": "29500",
                },
            )
            for number in range(2)
        ]
