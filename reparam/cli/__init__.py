"""The command `reparam`: parse, call, print. What is heavy is imported when a command runs, after it was parsed."""

from reparam.cli.entry import main as main
