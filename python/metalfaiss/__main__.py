"""``python -m metalfaiss`` prints the configuration."""

from metalfaiss.config import main

main()
