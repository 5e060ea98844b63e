"""Models: training, evaluation, promotion, registry and inference, each a stage that publishes through the ledger."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.models.artifact import ModelInfo, Scorer, load_model
    from orchestrai.models.decision import PromotionDecision, decide_promotion
    from orchestrai.models.deployment import deploy_champion, not_deployed
    from orchestrai.models.evaluation import evaluate
    from orchestrai.models.inference import predict
    from orchestrai.models.notify import told_of_rejection
    from orchestrai.models.promotion import promote
    from orchestrai.models.registry import ModelVersion, resolve, rollback, versions
    from orchestrai.models.sagemaker_registry import Deployment, deploy
    from orchestrai.models.serving import scoring_app
    from orchestrai.models.spec import Estimator, ModelSpec, PromotionRule, Split, XGBoostParams
    from orchestrai.models.training import train

__all__ = [
    "Deployment",
    "Estimator",
    "ModelInfo",
    "ModelSpec",
    "ModelVersion",
    "PromotionDecision",
    "PromotionRule",
    "Scorer",
    "Split",
    "XGBoostParams",
    "decide_promotion",
    "deploy",
    "deploy_champion",
    "evaluate",
    "load_model",
    "not_deployed",
    "predict",
    "promote",
    "resolve",
    "rollback",
    "scoring_app",
    "told_of_rejection",
    "train",
    "versions",
]

lazily(
    __name__,
    {
        "artifact": ("ModelInfo", "Scorer", "load_model"),
        "decision": ("PromotionDecision", "decide_promotion"),
        "deployment": ("deploy_champion", "not_deployed"),
        "evaluation": ("evaluate",),
        "inference": ("predict",),
        "notify": ("told_of_rejection",),
        "promotion": ("promote",),
        "registry": ("ModelVersion", "resolve", "rollback", "versions"),
        "sagemaker_registry": ("Deployment", "deploy"),
        "serving": ("scoring_app",),
        "spec": ("Estimator", "ModelSpec", "PromotionRule", "Split", "XGBoostParams"),
        "training": ("train",),
    },
)
