"""Threat intelligence in, as records for who matches with it: attributes and events of MISP, STIX over TAXII 2.1.

Both are JSON interfaces that `Rest` knows how to ask; here stands only what each lays down.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from soc.collectors.poll.rest import Rest, Shape
from soc.collectors.poll.secrets import Secrets
from soc.collectors.poll.web import Web
from soc.model.clock import Clock
from soc.model.poll import Poll

TAXII = "application/taxii+json;version=2.1"
_EVENT = ("Event.uuid", "Event.timestamp", "Event.publish_timestamp")
MISP_ATTRIBUTE, MISP_EVENT, STIX = "misp.attribute", "misp.event", "taxii.stix"


def misp(poll: Poll, secrets: Secrets, clock: Clock) -> Rest:
    """`POST /attributes/restSearch` or `/events/restSearch`, page by page.

    What a MISP takes over from others keeps its old time of editing, so that time is no place to go on from: asked is
    what was published since, by the server's own clock. An edit is another record: its time is part of the key.
    """
    is_events = poll["what"] == "events"
    shape = Shape(
        method="POST", params={**poll["filters"], "returnFormat": "json"},
        items="response" if is_events else "response.Attribute",
        id=_EVENT if is_events else ("uuid", "timestamp", "deleted"),
        paging="page", next_param="page", limit=poll["limit"], limit_param="limit",
        since_param=poll["by"], time_form="epoch", is_by_clock=True,
    )  # fmt: skip
    web = Web(
        poll, secrets, clock, secret_headers={"Authorization": poll["key"]},
        path=f"/{poll['what']}/restSearch",
    )  # fmt: skip
    return _of(poll, shape, web, clock, MISP_EVENT if is_events else MISP_ATTRIBUTE)


def taxii(poll: Poll, secrets: Secrets, clock: Clock) -> Rest:
    """`GET {api-root}/collections/{id}/objects/` with `added_after`, `limit`, `next` (TAXII 2.1, 3.4, 3.5, 5.4).

    An object is told apart by its identifier and its version, which is `modified`, else `created`.
    """
    shape = Shape(
        params={"match[version]": "all"}, items="objects", id=("id", "modified", "created"),
        paging="token", next="next", next_param="next", more="more", limit=poll["limit"], limit_param="limit",
        since_param="added_after", time_header="x-taxii-date-added-last", accept=TAXII,
        basic=(poll["user"], poll["password"]) if poll["user"] else None,
    )  # fmt: skip
    path = f"/collections/{quote(poll['collection'], safe='')}/objects/"
    web = Web(poll, secrets, clock, path=path, has_password=bool(poll["user"]))
    return _of(poll, shape, web, clock, STIX)


def _of(poll: Poll, shape: Shape, web: Web, clock: Clock, dataset: str) -> Rest:
    options = {**poll.options, "dataset": poll["dataset"] or dataset}
    return Rest(replace(poll, options=options), shape, web, clock)
