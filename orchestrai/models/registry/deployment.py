"""Deployment: the champion in every registry and endpoint that its declaration names, and a signed record of where it is."""

from collections.abc import Sequence

from orchestrai.core.code_identity import Producer
from orchestrai.core.time.partition_key import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.errors import ConfigError, ModelError, NotReceipted, StorageError
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.models.registry.registry_urls import parse_address
from orchestrai.models.registry.target_port import Registered, Target, open_champion
from orchestrai.models.registry.versions import serving_champion
from orchestrai.models.spec import ModelSpec

PRODUCER = Producer("deployment", __name__)

DEPLOYMENT_FILE = "deployment.json"


def open_target(url: str) -> Target:
    """The registry behind a URL; nothing is connected before it is used. Raises ConfigError."""
    address = parse_address(url)
    if address.scheme == "sagemaker":
        from orchestrai.models.registry.sagemaker_registry import SageMakerRegistry
        from orchestrai.models.remote.spec import SageMakerServing

        return SageMakerRegistry(SageMakerServing.model_validate({"group": address.base, **address.options}))
    if address.scheme == "azureml":
        from orchestrai.models.registry.clouds.azureml_registry import AzureMLRegistry

        return AzureMLRegistry(address)
    if address.scheme == "vertex":
        from orchestrai.models.registry.clouds.vertex_registry import VertexRegistry

        return VertexRegistry(address)
    from orchestrai.models.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(address)


def targets_of(spec: ModelSpec) -> list[Target]:
    """The registries and endpoints a model declares, in order."""
    targets = [open_target(url) for url in spec.registry]
    where = spec.serve_on
    if where is not None and where.sagemaker is not None:
        from orchestrai.models.registry.sagemaker_registry import SageMakerRegistry

        targets.append(SageMakerRegistry(where.sagemaker))
    if where is not None and where.function is not None:
        from orchestrai.models.registry.functions.lambda_function import LambdaFunction

        targets.append(LambdaFunction(where.function))
    return targets


def deploy_champion(
    ledger: Ledger, spec: ModelSpec, *, champion: str, asset: str, targets: Sequence[Target] | None = None
) -> StageReport:
    """Register the champion with every target and publish `deployment.json` under `asset`.

    The champion is checked as on any load first. Every target is tried; when one fails the record is refused with the
    verdict `registered` and running it again mends what is missing. Deploying what is deployed changes nothing.
    """
    wanted = targets_of(spec) if targets is None else list(targets)
    if not wanted:
        raise ConfigError(f"{spec.name}: expected a registry or serve_on to deploy to, found none: declare one")
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        opened = open_champion(ledger, champion)
        dataset = ledger.open(champion, opened.scorer.version)
        held: list[Registered] = []
        failed: list[str] = []
        for target in wanted:
            try:
                held.append(target.register(opened))
            except (StorageError, ModelError, ConfigError) as exc:
                failed.append(f"{target.url}: {exc.message}")
        record = {
            "asset": champion,
            **opened.labels(),
            "targets": [one.as_json() for one in held],
        }
        data = canonical_json(record)
        session.add_bytes(WHOLE, DEPLOYMENT_FILE, data)
        meter.written += len(data)
        done = f"{len(held)} of {len(wanted)} targets hold {opened.scorer.version[7:19]}"
        verdict = Verdict("registered", not failed, "; ".join([done, *failed]))
        return session.commit(
            {WHOLE: [verdict]},
            inputs=[InputRef(champion, dataset.version, dataset.roots([WHOLE]))],
            parameters={"targets": [target.url for target in wanted]},
            cost=meter.cost(),
            facts={
                "model_version": opened.scorer.version,
                "targets": [one.as_json() for one in held],
                "changed": [one.target for one in held if one.changed],
            },
        )


def not_deployed(ledger: Ledger, *, champion: str, asset: str) -> Head | None:
    """The entry by which the champion serves, where the newest deployment is not of it; None where it is, or nothing serves."""
    current = serving_champion(ledger, champion)
    if current is None:
        return None
    made = ledger.find(asset)
    try:
        inputs = made.receipt(WHOLE).inputs if made is not None else ()
    except NotReceipted:
        inputs = ()  # recalled with the champion that it deployed
    return None if any((ref.asset, ref.version) == (champion, current.version) for ref in inputs) else current.head
