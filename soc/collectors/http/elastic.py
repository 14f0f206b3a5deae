"""The Elasticsearch requests of shippers: bulk indexing, and the handshakes of Beats, Logstash, Vector and clients.

Nothing is indexed here: documents go into the queue. Where a shipper wants to store a template, policy or pipeline it
is told `acknowledged`, with a `Warning` header that says that nothing keeps or runs it (RFC 7234 §5.5, code 299).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, NamedTuple, cast

import orjson

from soc.collectors.http.bodies import BadBody, is_object, split_lines
from soc.collectors.http.calls import TEXT, Call, Headers, Reply, Taken

FORMAT = "elastic"
"""A record is the action line, LF, and the document, as the bulk API has them."""
VERSION = "8.19.0"
"""The version that is told."""
_BEAT = re.compile(r"(?:Elastic-)?\w*[bB]eat/(\d{1,3})\.(\d{1,3})\.(\d{1,3})\b")
PRODUCT: Headers = (("X-Elastic-Product", "Elasticsearch"),)
_UNKEPT: Headers = (
    *PRODUCT, ("Warning", '299 soc-toolkit "not kept: this receiver stores no templates, policies or pipelines"'),
)  # fmt: skip
_NAMES = "license xpack cluster nodes ilm index_template template component_template ingest data_stream alias cat"
_PLACES = tuple(f"/_{name}" for name in _NAMES.split())
_WRITES = re.compile(r"(?:/[^/_][^/]{0,254})?/_bulk|/[^/_][^/]{0,254}/_(?:doc|create)(?:/[^/]{1,512})?")
_INDEX = re.compile(r"[^\\/*?\"<>| ,#A-Z_+.-][^\\/*?\"<>| ,#A-Z]{0,254}|<[^<>\\*?\"| ,#]{1,253}>")
"""Also with date math in its name (`<filebeat-{now/d}-000001>`), under which Beats create the first of an alias."""
_OPS = ("create", "index")
_MAX_KNOWN = 256
_TYPES = {
    400: "parse_exception", 401: "security_exception", 403: "security_exception", 404: "resource_not_found_exception",
    405: "method_not_allowed", 408: "timeout_exception", 413: "content_too_long_exception",
    415: "media_type_header_exception", 429: "es_rejected_execution_exception",
    503: "cluster_block_exception",
}  # fmt: skip
_WHO = {
    "name": "soc-toolkit",
    "cluster_name": "soc-toolkit",
    "cluster_uuid": "c29jLXRvb2xraXQtaW50YWs",
    "version": {
        "number": VERSION, "build_flavor": "default", "build_type": "tar", "build_hash": "0" * 40,
        "build_date": "2025-01-01T00:00:00.000Z", "build_snapshot": False, "lucene_version": "9.12.0",
        "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
    },
    "tagline": "You Know, for Search",
}  # fmt: skip
_LICENSE = {"uid": "00000000-0000-0000-0000-000000000000", "type": "basic", "mode": "basic", "status": "active"}
_FEATURES = {
    name: {"available": name == "ilm", "enabled": name == "ilm"} for name in ("ilm", "security", "ml", "monitoring")
}
"""Index lifecycles are told, as a Beat with `setup.ilm.enabled: true` sends nothing without them."""
_HEALTH = {
    "cluster_name": "soc-toolkit", "status": "green", "timed_out": False, "number_of_nodes": 1,
    "number_of_data_nodes": 1, "active_primary_shards": 0, "active_shards": 0, "relocating_shards": 0,
    "initializing_shards": 0, "unassigned_shards": 0, "active_shards_percent_as_number": 100.0,
}  # fmt: skip


def speaks(path: str) -> bool:
    """Whether a path belongs to this dialect."""
    return path == "/" or path.startswith(_PLACES) or is_write(path) or _is_index(path)


def is_write(path: str) -> bool:
    """Whether documents come with a request to this path."""
    return _WRITES.fullmatch(path) is not None


def drops_when_refused(path: str, agent: str) -> bool:
    """Whether the sender is rsyslog's omelasticsearch, which names no agent. It takes any answer to a bulk request that
    has no items for its last word, whatever the status, and gives the records up; a connection that ends makes it send
    them again."""
    return not agent and path.endswith("/_bulk")


def told(agent: str) -> str:
    """The version for this `User-Agent`: Beats do not send to a lower version than theirs unless their
    `allow_older_versions` is set, so they hear their own when it is higher."""
    beat = _BEAT.search(agent[:256])
    mine = tuple(map(int, VERSION.split(".")))
    theirs = tuple(map(int, beat.groups())) if beat is not None else mine
    return ".".join(map(str, max(mine, theirs)))


def _is_index(path: str) -> bool:
    return _INDEX.fullmatch(path[1:]) is not None


class _Action(NamedTuple):
    """What an action line says, made ready: the bytes before the document, and the item of the answer."""

    line: bytes
    item: bytes
    error: str


class Elastic:
    """The dialect."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, bytes, bool], _Action] = OrderedDict()

    def fault(self, status: int, text: str, number: int = 0) -> Reply:
        """As Elasticsearch words its errors."""
        cause = {"type": _TYPES.get(status, "exception"), "reason": text}
        return Reply.json(status, {"error": {"root_cause": [cause], **cause}, "status": status}, PRODUCT)

    def answer(self, call: Call) -> Reply | Taken:
        """Documents, or a handshake."""
        if not is_write(call.path):
            return self._handshake(call)
        if call.method not in ("POST", "PUT"):
            return self.fault(405, f"{call.method} is not possible here")
        index, _, what = call.path[1:].partition("/")
        if call.path.endswith("/_bulk"):
            return self._bulk(call, index if what else "")
        op = what.partition("/")[0]
        return self._one(call, index, "create" if op == "_create" else "index")

    # documents --------------------------------------------------------------------------------------------------------

    def _bulk(self, call: Call, index: str) -> Reply | Taken:
        lines = split_lines(call.body)
        is_short = _wants_status_only(call.query.get("filter_path", ""))
        records: list[bytes] = []
        items: list[bytes] = []
        refused, max_bytes, check = 0, call.max_bytes, is_object
        last: bytes | None = None
        action = _Action(b"", b"", "")
        at, end = 0, len(lines)
        while at < end:
            line = lines[at]
            at += 1
            if line != last:
                if not line.strip():
                    continue
                action = self._known.get((index, line, is_short)) or self._action(index, line, is_short)
                last = line
            error = action.error
            if error == _NO_SOURCE or at == end:
                error = error or "the document of the last action is missing"
            else:
                document = lines[at]
                at += 1
                if not error:
                    try:
                        if len(document) <= max_bytes:
                            check(document)
                        records.append(action.line + document)
                        items.append(action.item)
                        continue
                    except ValueError as fault:
                        error = f"the document is no JSON object: {fault}"
            refused += 1
            items.append(_error_item(action, error))
        if not items:
            return self.fault(400, "request body is required")
        body = b'{"took":0,"errors":%s,"items":[%s]}' % (b"true" if refused else b"false", b",".join(items))
        reply = Reply(200, body, headers=PRODUCT)
        return Taken(records, FORMAT, lambda: reply, refused)

    def _action(self, index: str, line: bytes, is_short: bool) -> _Action:
        """Read an action line. The same few come again and again, unless each has an `_id`."""
        try:
            document = orjson.loads(line)
        except ValueError as error:
            raise BadBody(400, f"Malformed action/metadata line, expected a JSON object: {error}") from error
        if not isinstance(document, dict) or not document:
            raise BadBody(400, "Malformed action/metadata line, expected an action")
        # What follows the action is passed over, as in 8: winston-elasticsearch counts its attempts there.
        op, meta = next(iter(document.items()))
        if op not in ("create", "index", "update", "delete") or not isinstance(meta, dict):
            raise BadBody(400, f"Malformed action/metadata line, '{op[:32]}' is no action")
        name = meta.get("_index") or index
        if not isinstance(name, str) or not name or len(name) > 255:
            raise BadBody(400, "an action without an index")
        if op in _OPS:
            # The index of the path would be lost otherwise.
            kept = line.strip() if "_index" in meta else orjson.dumps({op: {**meta, "_index": name}})
            action = _Action(kept + b"\n", _created(op, name, meta.get("_id"), is_short), "")
        else:
            action = _Action(b"\n", orjson.dumps({op: {"_index": name}}), _NO_SOURCE if op == "delete" else _NO_CHANGE)
        if len(line) <= _MAX_KNOWN and "_id" not in meta:
            self._known[index, line, is_short] = action
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return action

    def _one(self, call: Call, index: str, op: str) -> Reply | Taken:
        if not call.body.strip():
            return self.fault(400, "request body is required")
        identity = call.path.split("/")[3] if call.path.count("/") > 2 else None
        if len(call.body) <= call.max_bytes:
            try:
                is_object(call.body)
            except ValueError as error:
                raise BadBody(400, f"the document is no JSON object: {error}") from error
        meta = {"_index": index} | ({"_id": identity} if identity else {})
        made = orjson.loads(_created(op, index, identity, False))[op]
        record = orjson.dumps({op: meta}) + b"\n" + call.body.strip()
        return Taken([record], FORMAT, lambda: Reply.json(201, made, PRODUCT))

    # handshakes -------------------------------------------------------------------------------------------------------

    def _handshake(self, call: Call) -> Reply:
        path = call.path.rstrip("/") or "/"
        if call.method in ("PUT", "POST", "DELETE"):
            if path == "/" or path.startswith(("/_license", "/_cluster", "/_nodes", "/_cat", "/_xpack")):
                return self.fault(405, f"{call.method} is not possible here")
            return Reply.json(200, {"acknowledged": True}, _UNKEPT)
        if path == "/":
            version = {**cast(dict[str, Any], _WHO["version"]), "number": told(call.headers.get("user-agent", ""))}
            return Reply.json(200, {**_WHO, "version": version}, PRODUCT)
        if path == "/_license":
            return Reply.json(
                200, {"license": {**_LICENSE, "issued_to": "soc-toolkit", "issuer": "soc-toolkit"}}, PRODUCT
            )
        if path == "/_xpack":
            return Reply.json(200, {"license": _LICENSE, "features": _FEATURES}, PRODUCT)
        if path.startswith("/_cluster/health"):
            return Reply.json(200, _HEALTH, PRODUCT)
        if path == "/_cat/health":
            return Reply(200, b"0 00:00:00 soc-toolkit green 1 1 0 0 0 0 0 0 0 - 100.0%\n", TEXT, PRODUCT)
        if path.startswith("/_nodes"):
            # Filebeat's modules ask which processors the nodes lack, and do not send when this is an error; Logstash
            # and clients that look for other nodes find none.
            return Reply.json(200, {"_nodes": {"total": 0, "successful": 0, "failed": 0}, "nodes": {}}, PRODUCT)
        return self.fault(404, f"{path[:200]} is not kept here: this receiver takes documents only")


_NO_SOURCE = "nothing is deleted here: records are append-only"
_NO_CHANGE = "nothing is changed here: records are append-only; use create or index"


def _wants_status_only(filter_path: str) -> bool:
    """Whether the answer may leave out all but `errors` and each item's status (`filter_path` of Beats, Logstash)."""
    names = set(filter_path.split(",")) if filter_path else set()
    return {"errors", "items.*.status"} <= names <= {"took", "errors", "items.*.status", "items.*.error"}


def _created(op: str, index: str, identity: Any, is_short: bool) -> bytes:
    if is_short:
        return b'{"%s":{"status":201}}' % op.encode()
    # We keep no documents by id; one that the shipper did not choose is empty.
    item = {
        "_index": index, "_id": str(identity or ""), "_version": 1, "result": "created",
        "_shards": {"total": 1, "successful": 1, "failed": 0}, "_seq_no": 0, "_primary_term": 1, "status": 201,
    }  # fmt: skip
    return orjson.dumps({op: item})


def _error_item(action: _Action, text: str) -> bytes:
    op, meta = next(iter(orjson.loads(action.item).items()))
    kept = {key: meta[key] for key in ("_index", "_id") if key in meta}
    kind = "illegal_argument_exception" if text in (_NO_SOURCE, _NO_CHANGE) else "document_parsing_exception"
    return orjson.dumps({op: {**kept, "status": 400, "error": {"type": kind, "reason": text}}})
