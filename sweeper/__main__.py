"""``python -m sweeper`` is the console command ``isorate``."""

from sweeper.cli.main import main

main()
