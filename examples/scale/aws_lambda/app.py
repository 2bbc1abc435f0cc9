"""Serve a model from AWS Lambda: the application behind an adapter that turns Lambda's events into requests."""

from __future__ import annotations

import os

from mangum import Mangum

from onnxpipe import pipeline
from onnxpipe.serving import app

_folder = os.environ.get("MODEL", "/srv/model")
# made once, when Lambda starts the container; one request at a time comes to each
handler = Mangum(app(pipeline(os.environ.get("TASK"), _folder)), lifespan="off")
