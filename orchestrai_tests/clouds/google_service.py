"""A Google service by its discovery document: resources of a collection, in pages of one, in one place, with states of its enumeration."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrai_tests.clouds.aws_model import OutsideModel
from orchestrai_tests.clouds.google_document import Call, GoogleDocument, google_document

Answer = tuple[int, Any]
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Held:
    """A resource: what it was made of, what the service says of it (`told`), and its number."""

    name: str
    body: dict[str, Any]
    number: int
    told: dict[str, Any] = field(default_factory=dict)
    shown: bool = False


@dataclass
class GoogleService:
    """What a document describes. `look` moves a resource on each time that it is shown; `cancel` is told which one is to end.

    Only `places` are served. The first list after something was made does not show it yet where `late`.
    """

    document: str
    places: tuple[str, ...]
    look: Callable[[Held], None] = lambda held: None
    cancel: Callable[[Held], None] = lambda held: None
    late: bool = False
    resources: dict[str, Held] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def answer(self, method: str, url: str, body: Any) -> Answer:
        """One request."""
        document = google_document(self.document)
        try:
            call = document.request(method, url, body)
            place = call.path.get("locationsId") or call.path.get("regionsId")
            if place not in self.places:
                return _refusal(400, "INVALID_ARGUMENT", f"Location {place} is not served by this endpoint")
            self.calls[str(call.method["id"])] += 1
            status, answer = self._play(call, document)
            return status, (answer if status >= 300 else document.answer(call, answer))
        except OutsideModel as exc:
            self.faults.append(str(exc))
            return _refusal(400, "INVALID_ARGUMENT", str(exc))

    def _play(self, call: Call, document: GoogleDocument) -> Answer:
        plays = {"create": self._create, "get": self._get, "list": self._list, "cancel": self._cancel}
        if call.verb not in plays:
            return _refusal(501, "UNIMPLEMENTED", call.verb)
        return plays[call.verb](call, document)

    def _create(self, call: Call, document: GoogleDocument) -> Answer:
        # collections are called after what they hold, and a name that the caller chooses by that and Id
        number = len(self.resources)
        chosen = next((v for k, v in call.query.items() if k.endswith("Id") and k != "requestId"), str(number))
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", chosen):
            return _refusal(400, "INVALID_ARGUMENT", f"Invalid id {chosen}")
        name = f"{call.url.partition('/')[2]}/{chosen}"
        if name in self.resources:
            return _refusal(409, "ALREADY_EXISTS", f"Already exists: {name}")
        held = Held(name, dict(call.body), number)
        self.resources[name] = held
        if call.method["response"]["$ref"].rpartition("V1")[2] in ("Operation", "GoogleLongrunningOperation"):
            return 200, {"name": self.operation(held)}
        return 200, self._shown(held, document, call.method["response"]["$ref"])

    def operation(self, held: Held) -> str:
        """The operation behind a resource."""
        return f"{held.name.rpartition('/')[0].rpartition('/')[0]}/operations/{held.number}"

    def _find(self, name: str) -> Held | None:
        by_operation = {self.operation(held): held for held in self.resources.values()}
        return self.resources.get(name) or by_operation.get(name)

    def _get(self, call: Call, document: GoogleDocument) -> Answer:
        held = self._find(call.url.partition("/")[2])
        if held is None:
            return _refusal(404, "NOT_FOUND", f"Not found: {call.url}")
        return 200, self._shown(held, document, call.method["response"]["$ref"])

    def _cancel(self, call: Call, document: GoogleDocument) -> Answer:
        held = self._find(call.url.partition("/")[2].removesuffix(":cancel"))
        if held is None:
            return _refusal(404, "NOT_FOUND", f"Not found: {call.url}")
        self.cancel(held)
        return 200, {}

    def _list(self, call: Call, document: GoogleDocument) -> Answer:
        answer = document.schemas[call.method["response"]["$ref"]]["properties"]
        key, items = next(
            (k, v["items"]["$ref"]) for k, v in answer.items() if v.get("type") == "array" and "$ref" in v["items"]
        )
        parent = call.url.partition("/")[2]
        found = [
            held for held in self.resources.values() if held.name.rpartition("/")[0] == parent and self._passes(held, call)
        ]
        if self.late:
            found, unseen = [held for held in found if held.shown], [held for held in found if not held.shown]
            for held in unseen:
                held.shown = True
        # no order is promised: the oldest first, so that the newest is on the last page
        at = int(call.query.get("pageToken", "0"))
        page = [self._shown(held, document, items) for held in found[at : at + 1]]
        more = {"nextPageToken": str(at + 1)} if at + 1 < len(found) else {}
        # nothing found is an answer without the member
        return 200, {**({key: page} if page else {}), **more}

    def _passes(self, held: Held, call: Call) -> bool:
        """By equality of what the filter names in snake case, as the bodies have it in camel case."""
        for name, value in re.findall(r'([a-z_]+)\s*=\s*"((?:\\.|[^"])*)"', call.query.get("filter", "")):
            camel = re.sub(r"_(\w)", lambda match: match[1].upper(), name)
            if {**held.body, **held.told}.get(camel) != value:
                return False
        return True

    def _shown(self, held: Held, document: GoogleDocument, schema: str) -> dict[str, Any]:
        self.look(held)
        known = document.schemas[schema]["properties"]
        created = (BEGAN + timedelta(seconds=held.number)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
        own = {"name": held.name, "createTime": created, "operation": self.operation(held)}
        return {name: value for name, value in {**own, **held.body, **held.told}.items() if name in known}


def _refusal(code: int, status: str, message: str) -> Answer:
    return code, {"error": {"code": code, "status": status, "message": message}}
