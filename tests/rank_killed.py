"""The program, of which the second rank is killed after its fifth write, unless it was before."""

import os
import signal

from proxmtl.cli import main
from proxmtl.io import Checkpoint

save, writes = Checkpoint.save, []


def counted(self, *given):
    save(self, *given)
    writes.append(given[2])
    again = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    if len(writes) == 5 and os.environ["RANK"] == "1" and not again:
        os.kill(os.getpid(), signal.SIGKILL)


Checkpoint.save = counted
main()
