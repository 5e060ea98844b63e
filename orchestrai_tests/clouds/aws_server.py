"""AWS on loopback as its models describe it: every request and answer is checked, lists come in pages, a wrong region is refused.

    with aws_server("sagemaker", "backup") as server: ...

Whatever a request or an answer has outside the model is a fault; a test ends with `server.faults == []`.
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrai_tests.clouds.aws_model import AwsModel, Given, OutsideModel, aws_model, encoded, raw_member
from orchestrai_tests.clouds.aws_resources import Refused, Region
from orchestrai_tests.clouds.loopback import Reply, serving

PAGE = 1
Answer = Callable[[str, str, Given], Given]
_SIGNED = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")


@dataclass
class AwsServer:
    """What is served where. `answers` play a service (operation, region, parameters); what none plays goes by its model's conventions.

    The next `throttled` requests are told to slow down. `calls` counts operations, in all and by name.
    """

    url: str
    regions: tuple[str, ...]
    models: dict[str, AwsModel]
    answers: dict[str, Answer] = field(default_factory=dict)
    states: dict[tuple[str, str], Region] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    throttled: int = 0
    # of the answer that is being given: what lies beside a body that is one member
    headers: dict[str, str] = field(default_factory=dict)

    def region(self, service: str, region: str | None = None) -> Region:
        """The resources of a service in a region."""
        where = region or self.regions[0]
        if (service, where) not in self.states:
            self.states[service, where] = Region(self.models[service], where)
        return self.states[service, where]

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client of it."""
        import boto3

        return boto3.client(
            service,
            region_name=region or self.regions[0],
            endpoint_url=self.url,
            aws_access_key_id="k",
            aws_secret_access_key="s",
        )

    def asked(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, Any]:
        """One request: status, the code of an error, and the body."""
        signed = _SIGNED.search(headers.get("Authorization", ""))
        if signed is None:
            return 403, "MissingAuthenticationTokenException", {"message": "Missing Authentication Token"}
        model = next((one for one in self.models.values() if one.signed_for == signed[3]), None)
        if model is None:
            self.faults.append(f"a request is signed for {signed[3]}, which is not served")
            return 404, "UnknownOperationException", {"message": f"no {signed[3]} here"}
        if signed[2] not in self.regions:
            told = f"Credential should be scoped to a valid region, not '{signed[2]}'."
            return 403, "InvalidSignatureException", {"message": told}
        if self.throttled:
            self.throttled -= 1
            return 400, "ThrottlingException", {"message": "Rate exceeded"}
        try:
            operation, given = model.request(method, url, headers.get("X-Amz-Target", ""), body)
        except OutsideModel as exc:
            self.faults.append(str(exc))
            return 400, "ValidationException", {"message": str(exc)}
        self.calls[operation.name] += 1
        self.order.append(operation.name)
        try:
            answer = self._answer(model, operation, signed[2], given)
            model.check(answer, operation.output_shape, f"answer of {operation.name}")
        except Refused as exc:
            return exc.status, exc.code, {"message": str(exc), "Message": str(exc)}
        except (OutsideModel, KeyError) as exc:
            self.faults.append(repr(exc))
            return 400, "OutsideModel", {"message": repr(exc)}  # no code that is tried again
        shape, whole = operation.output_shape, raw_member(operation.output_shape)
        told = json.loads(answer[whole]) if whole else encoded(answer, shape)
        self.headers = {
            shape.members[name].serialization["name"]: str(value)
            for name, value in (answer.items() if whole else ())
            if shape.members[name].serialization.get("location") == "header"
        }
        return int(operation.http.get("responseCode", 200)), "", told

    def _answer(self, model: AwsModel, operation: Any, region: str, given: Given) -> Given:
        play = self.answers.get(model.service)
        name = str(operation.name)
        paged = model.pages.get(name)
        asked = {
            key: value
            for key, value in given.items()
            if not paged or key not in (paged["input_token"], paged.get("limit_key"))
        }
        answer = play(name, region, asked) if play else self.region(model.service, region).answer(name, asked)
        return answer if not paged else _page(answer, paged, given)


def _page(answer: Given, paged: Mapping[str, Any], given: Given) -> Given:
    """One page, as the model's paginator names its tokens."""
    key = paged["result_key"]
    if not isinstance(key, str) or key not in answer:
        return answer
    at = int(given.get(paged["input_token"], "0") or 0)
    size = min(PAGE, int(given.get(paged.get("limit_key"), PAGE)))
    entries = answer[key]
    more = {paged["output_token"]: str(at + size)} if at + size < len(entries) else {}
    return {**answer, key: entries[at : at + size], **more}


@contextlib.contextmanager
def aws_server(*services: str, regions: tuple[str, ...] = ("us-east-1",)) -> Iterator[AwsServer]:
    """Serve on a free loopback port."""
    served = AwsServer("", regions, {service: aws_model(service) for service in services})

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        status, error, told = served.asked(method, url, headers, body)
        return (status, {"x-amzn-ErrorType": error}, {"__type": error, **told}) if error else (status, served.headers, told)

    with serving(ask) as served.url:
        yield served
