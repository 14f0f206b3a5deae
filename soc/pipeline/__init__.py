"""The flow on one page; this package is the only one that joins rooms.

    collectors ─▶ log `raw` ─▶ Worker: parsers → registry → detections ─┬▶ log `matched` ─▶ Correlating ─┐
                                                                        ├▶ log `findings` ◀──────────────┘
                                                                        └▶ event store
    log `findings` ─▶ Services: alerts → tickets → playbooks → devices;  outbox ─▶ national centre;  retention ◀─ store

`sensing` joins an interface, the decoders of packets and the raw log, for `soc sense`.
`files` runs the same parsers and rules over files; `worker` and `correlate` are the steps of `soc work` and
`soc correlate`; `services` is what `soc serve` holds; `accounting` shows that nothing was lost in between.
"""

from soc.pipeline.correlate import Correlating
from soc.pipeline.files import load_parsers, ordered_documents, parse_file
from soc.pipeline.sensing import Sensing
from soc.pipeline.services import Services
from soc.pipeline.worker import Worker

__all__ = [
    "Correlating",
    "Sensing",
    "Services",
    "Worker",
    "load_parsers",
    "ordered_documents",
    "parse_file",
]
