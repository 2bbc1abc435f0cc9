"""Label a column of a table with Spark: each Python worker loads the model once.

spark-submit examples/scale/spark_labels.py reviews.parquet labelled.parquet --model /srv/models/sst2-bundle
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from pyspark import TaskContext
from pyspark.sql import SparkSession

Frames = Iterator[Any]


def labels(model: str, task: str, column: str) -> Callable[[Frames], Frames]:
    """Make what `mapInPandas` takes: tables in, the same tables with labels and errors out."""

    def answered(frames: Frames) -> Frames:
        from onnxpipe.scale import Map

        context = TaskContext.get()
        answer = Map(task, model, column=column, threads=1 if context is None else context.cpus())
        for frame in frames:
            yield answer(frame)

    return answered


def main() -> None:
    """Label the rows of `source`, and write them to `target`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--model", required=True, help="a folder that all workers can read, or a Hub id")
    parser.add_argument("--task", default="text-classification")
    parser.add_argument("--column", default="text")
    given = parser.parse_args()

    spark = SparkSession.builder.getOrCreate()
    rows = spark.read.parquet(given.source)
    columns = ", ".join(f"`{name}` {kind}" for name, kind in rows.dtypes)
    schema = f"{columns}, answer struct<label string, score double>, error string"
    rows.mapInPandas(labels(given.model, given.task, given.column), schema).write.parquet(given.target)


if __name__ == "__main__":
    main()
