"""The tasks' records: complete, consistent with their classes, and read by transformers' names."""

from __future__ import annotations

import pytest

from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.registry import PIPELINE_REGISTRY, PipelineRegistry, aliases_of, all_tasks, check_task, task_spec


@pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)
def test_a_record_is_complete(spec):
    assert spec.help.endswith(".") and "\n" not in spec.help and len(spec.help) < 90
    assert spec.input == spec.pipeline.input_modalities
    assert issubclass(spec.pipeline, Pipeline)
    assert bool(spec.default_model) == bool(spec.auto_classes) == spec.has_model
    assert spec.draws <= (spec.takes_images or spec.output == "image")
    columns = spec.columns({}, None)
    assert len(set(columns.names)) == len(columns.names)
    assert columns.names or spec.output == "image"


def test_names_and_aliases_are_unique():
    names = [name for spec in all_tasks() for name in (spec.name, *aliases_of(spec.name))]
    assert len(set(names)) == len(names)
    assert PIPELINE_REGISTRY.get_supported_tasks() == sorted(names)


def test_a_record_is_found_by_every_name():
    assert task_spec("ner").name == "token-classification"
    assert task_spec("translation_en_to_fr").name == "translation"
    with pytest.raises(KeyError):
        task_spec("no-such-task")


@pytest.mark.parametrize(
    ("misspelt", "near"),
    [("text-classificaton", "text-classification"), ("object_detection", "object-detection"), ("nerd", "ner")],
)
def test_a_misspelt_task_suggests_the_nearest(misspelt, near):
    with pytest.raises(KeyError, match=f"Unknown task {misspelt}, available tasks are .*did you mean '{near}'"):
        check_task(misspelt)


def test_an_unknown_task_suggests_nothing():
    with pytest.raises(KeyError, match=r"translation_XX_to_YY'\]\"$"):
        check_task("zzzzzz")


def test_a_registered_task_has_a_record():
    class Own(Pipeline):
        pass

    registry = PipelineRegistry(supported_tasks={}, specs={})
    registry.register_pipeline("own", Own, default=("me/model", "abc"), type="image")
    assert registry.supported_tasks["own"] == {
        "impl": Own, "pt": (), "default": {"model": ("me/model", "abc")}, "type": "image"
    }  # fmt: skip
    assert registry.spec("own").pipeline is Own and registry.spec("own").takes_files
    registry.supported_tasks["by-hand"] = {"impl": Own, "pt": ()}
    assert registry.spec("by-hand").columns({}, None).names == ("result",)
