"""Label a column of a table with Ray Data: each actor loads the model once.

python examples/scale/ray_data.py reviews.parquet labelled --model sst2-bundle --actors 2
"""

from __future__ import annotations

import argparse

import ray

from onnxpipe.scale import Map


def main() -> None:
    """Label the rows of `source`, and write them to the folder `target`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--model", required=True, help="a bundle that all machines can read, or a Hub id")
    parser.add_argument("--task", default="text-classification")
    parser.add_argument("--column", default="text")
    parser.add_argument("--actors", type=int, default=2)
    given = parser.parse_args()

    rows = ray.data.read_parquet(given.source)
    # the size of Ray's batches only says how many rows travel together: Map makes batches by length itself
    labelled = rows.map_batches(
        Map,
        fn_constructor_args=(given.task, given.model),
        fn_constructor_kwargs={"column": given.column},
        batch_size=256,
        compute=ray.data.ActorPoolStrategy(size=given.actors),
    )
    labelled.write_parquet(given.target)


if __name__ == "__main__":
    main()
