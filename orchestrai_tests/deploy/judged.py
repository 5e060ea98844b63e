"""Fakes of AWS's services that refuse what a role's policy does not allow, by the names that the product really gives."""

from typing import Any

from orchestrai_tests.clouds.aws_model import Given
from orchestrai_tests.clouds.aws_resources import Refused
from orchestrai_tests.clouds.aws_server import Answer, AwsServer
from orchestrai_tests.deploy.service_actions import LENT, NAMED, S3_ACTIONS, judged_on
from orchestrai_tests.deploy.test_service_policies import permitted


def judged(server: AwsServer, service: str, role: str) -> None:
    """Let a role's policy judge every request to a service, before whatever plays it answers."""
    inner: Answer = server.answers.get(service) or (
        lambda name, region, given: server.region(service, region).answer(name, given)
    )

    def answer(name: str, region: str, given: Given) -> Given:
        found = refusals(role, service, name, given, region)
        if found:
            raise Refused("AccessDeniedException", f"User is not authorized to perform {', '.join(found)}")
        return inner(name, region, given)

    server.answers[service] = answer


def refusals(role: str, service: str, name: str, given: Given, region: str) -> list[str]:
    """What of a request a role may not do: the action itself, the tags of what it makes, the role that it lends."""
    action = NAMED.get(f"{service}:{name}", f"{service}:{name}")
    places = judged_on(action, given, region)
    needed: list[tuple[str, str, dict[str, str]]] = [(action, arn, {}) for arn in places]
    if given.get("Tags"):
        needed.append((f"{service}:AddTags", places[0], {}))
    for member in LENT:
        if member in given:
            needed.append(("iam:PassRole", given[member], {"iam_PassedToService": f"{service}.amazonaws.com"}))
    return [f"{one} on {arn}" for one, arn, context in needed if not permitted(role, one, arn, **context)]


def judged_s3(client: Any, role: str, refused: list[str]) -> Any:
    """The client, which notes what of its requests the role may not do."""

    def look(params: Given, model: Any, **_: Any) -> None:
        key = f"/{params['Key']}" if "Key" in params else ""
        action = f"s3:{model.name}" if key else S3_ACTIONS["list_objects_v2"]
        arn, prefix = f"arn:aws:s3:::{params['Bucket']}{key}", params.get("Prefix")
        if not permitted(role, action, arn, **({"s3_prefix": prefix} if prefix else {})):
            refused.append(f"{action} on {arn}")

    client.meta.events.register("before-parameter-build.s3", look)
    return client
