"""`python -m pairing_ws`: the command line under its module name, nothing else."""

from pairing_ws.cli import main

main()
