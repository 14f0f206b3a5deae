"""Exceptions that a second person has to approve: until then they take nothing."""

from __future__ import annotations

from typing import Any

from soc.errors import Conflict, NotFound, UsageError
from soc.model.cases import CaseTx as Tx
from soc.model.cases import Stored
from soc.model.clock import Clock
from soc.pipeline.rule_exceptions import Plan, RuleExceptions
from soc.pipeline.rules import MOST, Begin, enter

KIND = "exception_proposal"
"""Of documents, by the id of the exception: `definition`, `days`, `reason`, `by`, `at_us`, `exception`, `state`."""
PROPOSED, APPROVED, REJECTED = "proposed", "approved", "rejected"


class ExceptionApproval:
    """Over the exceptions of a service. Who may approve is asked by the caller, with `proposer`."""

    def __init__(self, exceptions: RuleExceptions, clock: Clock) -> None:
        self._exceptions, self._clock = exceptions, clock

    def waiting(self, tx: Tx) -> list[dict[str, Any]]:
        """What was proposed and is not decided yet, in the shape of the exceptions in place, with its `definition`."""
        return [
            {
                **stored.document["exception"], "state": PROPOSED, "count": 0, "last_us": None, "is_ours": True,
                "proposed_by": stored.document["by"], "proposed_us": stored.document["at_us"],
                "definition": stored.document["definition"],
            }
            for _, stored in tx.find(KIND, keys={"state": PROPOSED}, limit=MOST)
        ]  # fmt: skip

    def propose(self, begin: Begin, definition: str, days: int, reason: str, person: str) -> Plan:
        """Ask for it; one that waits under the same id is replaced. Raises what `RuleExceptions.checked` raises."""
        found, plan = self._exceptions.checked(definition, days)
        with begin() as tx:
            before = tx.get(KIND, found.id)
            document = {
                "definition": definition, "days": days, "reason": reason, "by": person,
                "at_us": self._clock.now_ns() // 1000, "exception": plan.exception, "state": PROPOSED,
            }  # fmt: skip
            tx.put(KIND, found.id, document, before.version if before else None, keys={"state": PROPOSED})
            enter(tx, "exception", "propose", found.id, None, plan.exception, reason)
        return plan

    def proposer(self, tx: Tx, id: str) -> str:
        """Who asked for it. Raises NotFound."""
        return str(_one(tx, id).document["by"])

    def approve(self, begin: Begin, id: str, version: str, reason: str) -> Plan:
        """Put exactly the version that was looked at in place, held once more against what came meanwhile.

        Call it with the rules' `writing` held. Raises what `RuleExceptions.put` raises, and NotFound.
        """
        with begin() as tx:
            proposal = _one(tx, id).document
        if proposal["exception"]["version"] != version:
            raise Conflict("this is not the exception that was shown", hint="look at it again and approve its version")

        def settle(tx: Tx) -> None:
            self._settle(tx, id, APPROVED)

        return self._exceptions.put(begin, proposal["definition"], proposal["days"], reason, settle)

    def reject(self, begin: Begin, id: str, reason: str) -> dict[str, Any]:
        """Let a proposal go, by whoever asked for it too. Raises NotFound, UsageError."""
        if not reason.strip():
            raise UsageError("a proposal is rejected with a reason")
        with begin() as tx:
            exception: dict[str, Any] = _one(tx, id).document["exception"]
            self._settle(tx, id, REJECTED)
            enter(tx, "exception", "reject", id, exception, None, reason)
        return exception

    def _settle(self, tx: Tx, id: str, state: str) -> None:
        stored = _one(tx, id)
        tx.put(KIND, id, {**stored.document, "state": state}, stored.version, keys={"state": state})


def _one(tx: Tx, id: str) -> Stored:
    stored = tx.get(KIND, id)
    if stored is None or stored.document["state"] != PROPOSED:
        raise NotFound(f"no exception '{id}' waits for approval", hint="soc rule except list")
    return stored
