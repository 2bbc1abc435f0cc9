"""The types of calls say what the options say."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from onnxpipe.generation.fields import FIELDS
from onnxpipe.tasks.base import call_types, generation
from onnxpipe.tasks.registry import all_tasks

#: Options that are arguments of their own in the signatures, and those that are not keywords.
_ARGUMENTS = {"candidate_labels", "top_k", "return_tensors"}
_INTERNAL = {"generate", "tokenizer", "target_ids", "warned"}


@pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)
def test_a_call_names_every_option(spec):
    module = sys.modules[spec.pipeline.__module__]
    keys = {key for name, each in vars(module).items() if name.endswith("CallOptions") for key in each.__annotations__}
    options = {field.name for field in dataclasses.fields(spec.pipeline.Options)}
    assert keys >= set(call_types.CallOptions.__annotations__)
    assert not options - keys - _ARGUMENTS - _INTERNAL


def test_the_arguments_of_generate_are_named():
    assert set(call_types.GenerateArguments.__annotations__) == {*FIELDS, *generation._ARGUMENTS}
