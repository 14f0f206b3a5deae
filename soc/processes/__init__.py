"""`soc up` and the processes it starts: each runs until it is told to stop, and leaves its stores in order.

`starting` says which processes there are, `supervisor` watches them, and each stands in the module of its work:
`collecting` and `sources` (in), `working` (queue to store and behind it), `serving` (the API), `units` (relay and
hub), `simulation`. What all of them do alike is in `process`.
"""

from typing import TYPE_CHECKING

from soc.model.exports import exported

if TYPE_CHECKING:
    from soc.processes.collecting import collect, reload
    from soc.processes.home import issue_certificate, make_home
    from soc.processes.rebuilding import rebuild_store
    from soc.processes.serving import serve
    from soc.processes.simulation import prepare_simulation, receiver, score, simulate
    from soc.processes.sources import poll, sense
    from soc.processes.starting import up
    from soc.processes.units import hub, relay, relay_join
    from soc.processes.working import compact, correlate, lookback, work

_WHERE = {
    "collect": "collecting", "reload": "collecting", "poll": "sources", "sense": "sources",
    "work": "working", "correlate": "working", "compact": "working", "lookback": "working", "serve": "serving",
    "hub": "units", "relay": "units", "relay_join": "units",
    "prepare_simulation": "simulation", "simulate": "simulation", "score": "simulation", "receiver": "simulation",
    "up": "starting", "make_home": "home", "issue_certificate": "home", "rebuild_store": "rebuilding",
}  # fmt: skip

__all__ = [
    "collect",
    "compact",
    "correlate",
    "hub",
    "issue_certificate",
    "lookback",
    "make_home",
    "poll",
    "prepare_simulation",
    "rebuild_store",
    "receiver",
    "relay",
    "relay_join",
    "reload",
    "score",
    "sense",
    "serve",
    "simulate",
    "up",
    "work",
]

__getattr__ = exported(__name__, _WHERE)
"""Each when it is asked for (PEP 562): a collector without the databases and the API is 60 MiB smaller."""
