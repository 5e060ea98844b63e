"""What runs in a training container of Azure ML or Vertex AI: numpy and xgboost only, sent along with the data.

python train.py FOLDER OUTPUT    reads job.json and the arrays in FOLDER, writes model.ubj and done.json to OUTPUT
"""

import json
import pathlib
import sys
import time


def main(folder: pathlib.Path, output: pathlib.Path) -> None:
    """Train as the declaration says; the same xgboost release on the same kind of processor gives the bytes of a local training."""
    import numpy as np
    import xgboost

    began = time.time()
    job = json.loads((folder / "job.json").read_text())

    def data(part: str, reference: object = None) -> object:
        return xgboost.QuantileDMatrix(
            np.load(folder / f"{part}_matrix.npy", allow_pickle=False),
            label=np.load(folder / f"{part}_label.npy", allow_pickle=False),
            feature_names=job["feature_names"],
            feature_types=job["feature_types"],
            missing=np.nan,
            max_bin=job["settings"]["max_bin"],
            nthread=job["settings"]["nthread"],
            ref=reference,
            enable_categorical=True,
        )

    train = data("train")
    watched = [(data("stop", train), "stop")] if job["early_stopping_rounds"] else []
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in job["settings"].items()}
    booster = xgboost.train(
        settings,
        train,
        num_boost_round=job["num_boost_round"],
        evals=watched,
        early_stopping_rounds=job["early_stopping_rounds"] if watched else None,
        verbose_eval=False,
    )
    if watched:
        booster = booster[: booster.best_iteration + 1]
    output.mkdir(parents=True, exist_ok=True)
    (output / "model.ubj").write_bytes(booster.save_raw(raw_format="ubj"))
    done = {"seconds": round(time.time() - began, 3), "xgboost": xgboost.__version__}
    (output / "done.json").write_text(json.dumps(done))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
