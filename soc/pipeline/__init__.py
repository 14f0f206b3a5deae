"""The flow on one page; this package is the only one that joins rooms.

    collectors ─▶ log `raw` ─▶ Worker: parsers → registry → detections ─┬▶ log `matched` ─▶ Correlating ─┐
                                                                        ├▶ log `findings` ◀──────────────┘
                                                                        └▶ event store
    log `findings` ─▶ Services: alerts → tickets → playbooks → devices;  outbox ─▶ national centre;  retention ◀─ store

`sensing` joins an interface, the decoders of packets and the raw log, for `soc sense`.
`files` and `many_files` run the same parsers and rules over files; `worker` (with `intake`, `joining`, `reading`,
`partition_states`) and `correlate` are the steps of `soc work` and `soc correlate`; `services` is what `soc serve`
holds; `accounting` shows that nothing was lost.
"""

from typing import TYPE_CHECKING

from soc.model.exports import exported

if TYPE_CHECKING:
    from soc.pipeline.correlate import Correlating
    from soc.pipeline.files import load_parsers, ordered_documents, parse_file
    from soc.pipeline.many_files import parse_files
    from soc.pipeline.sensing import Sensing
    from soc.pipeline.services import Services
    from soc.pipeline.worker import Worker

_WHERE = {
    "Correlating": "correlate", "Sensing": "sensing", "Services": "services", "Worker": "worker",
    "load_parsers": "files", "ordered_documents": "files", "parse_file": "files",
    "parse_files": "many_files",
}  # fmt: skip

__all__ = [
    "Correlating",
    "Sensing",
    "Services",
    "Worker",
    "load_parsers",
    "ordered_documents",
    "parse_file",
    "parse_files",
]

__getattr__ = exported(__name__, _WHERE)
"""Each part when it is asked for (PEP 562): `soc parse` and `soc detect` need no database (0.5 s of CPU)."""
