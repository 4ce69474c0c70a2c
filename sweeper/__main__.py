"""``python -m sweeper`` is the console command ``isorate``."""

from sweeper.cli import main

main()
