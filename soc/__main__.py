"""`python -m soc` and the command `soc`."""

from __future__ import annotations

from soc.console.cli import main

if __name__ == "__main__":
    main()
