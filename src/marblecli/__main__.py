"""``python -m marblecli``: how torchrun and accelerate start the command."""

from marblecli.cli.main import main

main()
