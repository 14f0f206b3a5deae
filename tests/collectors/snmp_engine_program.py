"""Opens the engine FILE and says its identity and boots, as who answers: `snmp_engine_program FILE [mutant]`.

`forgets` is a mutant that does not write its boots, `unsynced` one that does not sync them.
"""

import os
import sys
from pathlib import Path

from soc.collectors.snmp_engine import Engine
from soc.model.clock import SystemClock


class Forgets(Engine):
    """Keeps its boots to itself."""

    def save(self):
        if not self.path.exists():
            super().save()


def main(path: Path, mutant: str = "") -> None:
    if mutant == "unsynced":
        os.fsync = lambda fd: None
        os.fdatasync = lambda fd: None
    engine = (Forgets if mutant == "forgets" else Engine)(path, SystemClock())
    print(engine.engine_id.hex(), engine.boots, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
