"""``python -m sweeper`` is the console command ``isorate``."""

from isorate.__main__ import main

if __name__ == "__main__":
    main()
