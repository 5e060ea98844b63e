"""A service's resources by the conventions of its model: Create, Describe, List, Update, Stop and Delete of a noun.

Nothing here names a member of a service: what a resource holds, what a list shows, by what it filters and which states there are is
read from the model. A state moves on by one each time that the resource was described.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrai_tests.clouds.aws_model import AwsModel, Given


class Refused(Exception):
    """What the service answers instead, by code."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass
class Resource:
    """One resource: what it was made of, and the states that are still to come."""

    noun: str
    name: str
    arn: str
    made: Given
    states: list[str]
    created: datetime
    hidden: int = 0
    before: Given = field(default_factory=dict)

    def moved(self, status: str) -> None:
        """One state on."""
        if self.states:
            self.made[status] = self.states.pop(0)


@dataclass
class Region:
    """The resources of one service in one region. `plan` gives the states of the next resource of a noun, first to last.

    `lag` is how many lists do not yet show what was made.
    """

    model: AwsModel
    region: str
    account: str = "123456789012"
    plan: dict[str, list[str]] = field(default_factory=dict)
    lag: int = 0
    # what happens besides when a resource of a noun was made: what a container would do
    effects: dict[str, Callable[["Resource"], None]] = field(default_factory=dict)
    resources: dict[tuple[str, str], Resource] = field(default_factory=dict)
    now: datetime = datetime(2026, 11, 23, 2, tzinfo=UTC)

    def answer(self, name: str, given: Given) -> Given:
        """The answer to an operation of a noun; raises Refused."""
        verb = next(
            (verb for verb in ("Create", "Describe", "Update", "Delete", "Stop", "List") if name.startswith(verb)), ""
        )
        if not verb:
            raise Refused("UnknownOperationException", f"nobody plays {name} here")
        noun = name.removeprefix(verb)
        return {
            "Create": self.create, "Describe": self.describe, "Update": self.update, "Delete": self.delete, "Stop": self.stop,
            "List": self.listed,
        }[verb](noun, given)  # fmt: skip

    def create(self, noun: str, given: Given) -> Given:
        name = str(given.get(f"{noun}Name") or self._numbered(noun, given))
        if (noun, name) in self.resources:
            raise Refused("ResourceInUse", f"{noun} {name} exists", 400)
        self._refer(noun, given)
        self.now += timedelta(seconds=1)
        arn = f"arn:aws:{self.model.service}:{self.region}:{self.account}:{self._kind(noun)}/{name}"
        states = self._plan(noun)
        made = Resource(noun, name, arn, dict(given), states, self.now, self.lag)
        made.made[f"{noun}Name"] = name.partition("/")[0]
        made.moved(f"{noun}Status")
        self.resources[noun, name] = made
        if noun in self.effects:
            self.effects[noun](made)
        return {f"{noun}Arn": arn}

    def _kind(self, noun: str) -> str:
        """How ARNs of a noun call it, by the pattern that the model gives."""
        shape = self.model.operation(f"Create{noun}").output_shape.members.get(f"{noun}Arn")
        found = re.search(r":([a-z-]+)/", str(shape.metadata.get("pattern", "")) if shape is not None else "")
        return found[1] if found else re.sub(r"(?<!^)([A-Z])", r"-\1", noun).lower()

    def _numbered(self, noun: str, given: Given) -> str:
        """The name of a version of a group: its number."""
        group = given.get(f"{noun}GroupName")
        if group is not None and (f"{noun}Group", str(group)) not in self.resources:
            raise Refused("ValidationException", f"{noun}Group {group} does not exist")
        return f"{group}/{sum(1 for kind, name in self.resources if kind == noun and name.startswith(f'{group}/')) + 1}"

    def _plan(self, noun: str) -> list[str]:
        """The states to come, each of them a word of the model."""
        shape = self.model.operation(f"Describe{noun}").output_shape.members.get(f"{noun}Status")
        if shape is None:
            return []
        words = list(shape.enum)
        planned = list(self.plan.get(noun, ())) or [
            *([first] if (first := _first(words, ("Creating", "InProgress", "Pending"))) else ()),
            _first(words, ("InService", "Completed")),
        ]
        wrong = sorted(set(planned) - set(words))
        assert not wrong, f"the model knows no state {wrong} of {noun}, but {words}"
        return planned

    def _refer(self, noun: str, given: Any) -> None:
        """Whatever is named must be there: a member `<Noun>Name` of a noun that can be described."""
        for key, value in given.items() if isinstance(given, dict) else ():
            named = key.removesuffix("Name")
            if (
                named != key
                and named != noun
                and isinstance(value, str)
                and f"Describe{named}" in self.model.model.operation_names
            ):
                self.find(named, given)
            for one in value if isinstance(value, list) else [value]:
                self._refer(noun, one)

    def made(self, noun: str) -> list[Resource]:
        """What was made of a noun and is there, first to last."""
        return [held for held in self.resources.values() if held.noun == noun]

    def find(self, noun: str, given: Mapping[str, Any]) -> Resource:
        wanted = str(given[f"{noun}Name"])
        for (kind, name), held in self.resources.items():
            if kind == noun and wanted in (name, held.arn):
                return held
        raise Refused("ValidationException", f'Could not find {noun.lower()} "{wanted}".')

    def describe(self, noun: str, given: Given) -> Given:
        held = self.find(noun, given)
        if held.made.get(f"{noun}Status") == "RollingBack":
            held.made.update(held.before)
        told = self.shown(held, self.model.operation(f"Describe{noun}").output_shape)
        held.moved(f"{noun}Status")
        return told

    def update(self, noun: str, given: Given) -> Given:
        held, status = self.find(noun, given), f"{noun}Status"
        state = held.made.get(status)
        if state not in (None, "InService"):
            raise Refused("ValidationException", f"Cannot update {noun.lower()} {held.name} in state {state}.")
        self._refer(noun, given)
        held.before = {key: held.made[key] for key in given if key in held.made}
        held.made.update(given)
        held.states = list(self.plan.get(f"Update{noun}", ("Updating", "InService")))
        held.moved(status)
        return {f"{noun}Arn": held.arn}

    def delete(self, noun: str, given: Given) -> Given:
        held = self.find(noun, given)
        del self.resources[noun, held.name]
        return {}

    def stop(self, noun: str, given: Given) -> Given:
        held = self.find(noun, given)
        held.states = ["Stopped"]
        return {}

    def listed(self, plural: str, given: Given) -> Given:
        """All that the filters of the model let through; the server cuts pages."""
        noun, operation = plural.removesuffix("s"), self.model.operation(f"List{plural}")
        key = self.model.pages[f"List{plural}"]["result_key"]
        summary = operation.output_shape.members[key].member
        shown = []
        for held in self.resources.values():
            if held.noun != noun:
                continue
            if held.hidden:
                held.hidden -= 1
                continue
            if self._passes(held, given, operation.input_shape.members):
                shown.append(self.shown(held, summary))
        shown.sort(
            key=lambda one: str(one.get("CreationTime")), reverse=given.get("SortOrder", "Descending") == "Descending"
        )
        return {key: shown}

    def _passes(self, held: Resource, given: Mapping[str, Any], members: Mapping[str, Any]) -> bool:
        for name, wanted in given.items():
            if name == "NameContains" and wanted not in held.name:
                return False
            if name == "StatusEquals" and held.made.get(f"{held.noun}Status") != wanted:
                return False
            if name in held.made and name in members and held.made[name] != wanted:
                return False
        return True

    def shown(self, held: Resource, shape: Any) -> Given:
        """What the model shows of a resource: what was given, what the service knows, and of the rest what it must."""
        own = {f"{held.noun}Arn": held.arn, f"{held.noun}Name": held.made[f"{held.noun}Name"], "CreationTime": held.created,
               "LastModifiedTime": held.created}  # fmt: skip
        found: Given = {}
        for name, member in shape.members.items():
            if name in own:
                found[name] = own[name]
            elif name in held.made and _fits(held.made[name], member):
                found[name] = held.made[name]
            elif name in shape.required_members:
                found[name] = filler(member)
        return found


def filler(shape: Any) -> Any:
    """Any value that the model allows: for members that an answer must have and that nobody gave."""
    if shape.type_name == "structure":
        return {name: filler(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "string":
        return shape.enum[0] if shape.enum else "x" * max(1, int(shape.metadata.get("min", 1)))
    simple: dict[str, Any] = {"list": [], "map": {}, "integer": 1, "long": 1, "boolean": False, "float": 1.0, "double": 1.0}
    return datetime(2026, 11, 23, tzinfo=UTC) if shape.type_name == "timestamp" else simple[shape.type_name]


def _fits(value: Any, shape: Any) -> bool:
    """Whether a given value can be shown under the same name: some are asked in one shape and told in another."""
    kinds: dict[str, Any] = {"structure": dict, "map": dict, "list": list, "string": str, "timestamp": datetime}
    if not isinstance(value, kinds.get(shape.type_name, bool | int | float)):
        return False
    if shape.type_name == "structure":
        return set(value) <= set(shape.members) and all(_fits(one, shape.members[name]) for name, one in value.items())
    if shape.type_name == "list":
        return all(_fits(one, shape.member) for one in value)
    return True


def _first(words: list[str], among: tuple[str, ...]) -> str:
    return next((word for word in among if word in words), "")
