"""``python -m proxmtl`` is the program ``proxmtl``."""

from proxmtl.cli import main

main()
