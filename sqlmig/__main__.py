"""Make ``python -m sqlmig`` the command."""

from sqlmig.cli import main

main()
