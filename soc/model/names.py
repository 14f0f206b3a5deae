"""Short names that become part of folders, positions and file names: of a distant unit, of a bundle of rules."""

from __future__ import annotations

import re

SHORT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
"""Small letters, digits and -, at most 40, a letter or a digit at both ends."""
