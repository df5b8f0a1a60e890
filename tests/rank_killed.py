"""The program, of which the second rank is killed once, where KILLED says.

Either after its fifth write, or when the run is in its place.
"""

import os
import signal
import time

from proxmtl.cli import main
from proxmtl.cli.unfinished import Unfinished
from proxmtl.io import Checkpoint

save, done, writes = Checkpoint.save, Unfinished.done, []


def counted(self, *given):
    save(self, *given)
    writes.append(given[2])
    if len(writes) == 5:
        os.kill(os.getpid(), signal.SIGKILL)


def waiting(self):
    done(self)
    while not self.out.exists():  # the first rank puts it there
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if os.environ["KILLED"] == "in the fit":
        Checkpoint.save = counted
    else:
        Unfinished.done = waiting
main()
