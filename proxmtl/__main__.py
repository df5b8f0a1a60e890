"""``python -m proxmtl`` runs the command-line program ``proxmtl``."""

from proxmtl.cli import main

main()
