"""Serve a model with Ray Serve: replicas of the application that `onnxpipe serve` runs, with all its shapes.

MODEL=sst2-bundle serve run examples.scale.ray_serve:deployment
"""

from __future__ import annotations

import os

from ray import serve

from onnxpipe import pipeline
from onnxpipe.serving import app


def build() -> object:
    """Make the application; each replica does that once."""
    return app(pipeline(os.environ.get("TASK"), os.environ["MODEL"]))


@serve.deployment(
    ray_actor_options={"num_cpus": 1},
    autoscaling_config={"min_replicas": 1, "max_replicas": 4, "target_ongoing_requests": 32},
)
@serve.ingress(build)
class Deployment:
    """A replica."""


deployment = Deployment.bind()
