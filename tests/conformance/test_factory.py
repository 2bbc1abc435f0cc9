"""`pipeline()` and what every pipeline does, side by side with transformers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.compare import same
from conformance.runner import Ours, Transformers

TASK = "text-classification"
TEXTS = ["We love this movie!", "Do not buy this phone.", "The food was good.", "ok", "The story was boring."]


@pytest.fixture(scope="module")
def model(models: Callable[[str, str], Path]) -> str:
    return str(models("bert", "nli"))


@pytest.fixture(scope="module")
def bundle(bundles: Callable[..., Path]) -> str:
    return str(bundles("bert", "nli"))


@pytest.fixture(scope="module")
def makers(model: str, bundle: str, theirs: Transformers, ours: Ours) -> tuple[Any, Any]:
    """`pipeline` of transformers and of onnxpipe, each with its model filled in."""
    import transformers

    import onnxpipe

    def reference(task: str | None = TASK, **kwargs: Any) -> Any:
        return transformers.pipeline(task, **{"model": model, "device": "cpu", **kwargs})

    def subject(task: str | None = TASK, **kwargs: Any) -> Any:
        return onnxpipe.pipeline(task, **{"model": bundle, "device": "cpu", **kwargs})

    return reference, subject


@pytest.fixture(scope="module")
def pipes(makers: tuple[Any, Any]) -> tuple[Any, Any]:
    return makers[0](), makers[1]()


def errors(calls: tuple[Callable[[], Any], Callable[[], Any]]) -> tuple[BaseException, BaseException]:
    caught = []
    for call in calls:
        with pytest.raises(Exception) as error:
            call()
        caught.append(error.value)
    return caught[0], caught[1]


def assert_same_error(calls: tuple[Callable[[], Any], Callable[[], Any]]) -> None:
    expected, got = errors(calls)
    assert isinstance(got, type(expected)), f"expected {expected!r}, got {got!r}"
    assert got.args[:1] == expected.args[:1]


# -- the factory ------------------------------------------------------------------------------------------------------
def test_parameters_have_the_same_names_and_order() -> None:
    import transformers

    import onnxpipe

    expected = [name for name in inspect.signature(transformers.pipeline).parameters if name != "kwargs"]
    found = inspect.signature(onnxpipe.pipeline).parameters
    positional = [name for name, p in found.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert [name for name in positional if name != "framework"] == expected
    for name in expected:
        default = inspect.signature(transformers.pipeline).parameters[name].default
        assert found[name].default == default, name


def test_alias_stays(makers: tuple[Any, Any]) -> None:
    for make in makers:
        assert make("sentiment-analysis").task == "sentiment-analysis"
        assert make().task == TASK


def test_unknown_task(makers: tuple[Any, Any]) -> None:
    import onnxpipe

    expected, got = errors((lambda: makers[0]("no-such-task"), lambda: makers[1]("no-such-task")))
    assert isinstance(expected, KeyError) and isinstance(got, KeyError)
    start = "Unknown task no-such-task, available tasks are "
    assert expected.args[0].startswith(start)
    assert got.args[0] == f"{start}{[*onnxpipe.get_supported_tasks(), 'translation_XX_to_YY']}"
    assert onnxpipe.get_supported_tasks() == sorted(onnxpipe.get_supported_tasks())


def test_neither_task_nor_model() -> None:
    import transformers

    import onnxpipe

    assert_same_error((lambda: transformers.pipeline(), lambda: onnxpipe.pipeline()))


@pytest.mark.parametrize("name", ["tokenizer", "feature_extractor"])
def test_part_without_model(name: str, model: str, bundle: str) -> None:
    import transformers

    import onnxpipe

    assert_same_error(
        (lambda: transformers.pipeline(TASK, **{name: model}), lambda: onnxpipe.pipeline(TASK, **{name: bundle}))
    )


def test_dtype_twice(makers: tuple[Any, Any]) -> None:
    calls = [lambda m=make: m(dtype="float32", model_kwargs={"dtype": "float32"}) for make in makers]
    assert_same_error((calls[0], calls[1]))


def test_tokenizer_as_a_tuple(makers: tuple[Any, Any], model: str, bundle: str) -> None:
    for make, folder in zip(makers, (model, bundle), strict=True):
        pipe = make(tokenizer=(folder, {"model_max_length": 6, "use_fast": True}))
        assert pipe.tokenizer.model_max_length == 6
    answers = [
        m(tokenizer=(f, {"model_max_length": 6}))(TEXTS, truncation=True) for m, f in zip(makers, (model, bundle))
    ]
    assert same(*answers) is None


def test_objects_instead_of_names(makers: tuple[Any, Any], pipes: tuple[Any, Any]) -> None:
    for make, pipe in zip(makers, pipes, strict=True):
        again = make(model=pipe.model, tokenizer=pipe.tokenizer)
        assert again.model is pipe.model
        assert again.tokenizer is pipe.tokenizer
        assert again(TEXTS) == pipe(TEXTS)


def test_model_object_without_tokenizer(makers: tuple[Any, Any], pipes: tuple[Any, Any]) -> None:
    calls = [lambda m=make, p=pipe: m(model=p.model) for make, pipe in zip(makers, pipes, strict=True)]
    assert_same_error((calls[0], calls[1]))


def test_task_of_a_model_object(makers: tuple[Any, Any], pipes: tuple[Any, Any]) -> None:
    expected, got = errors(
        (lambda: makers[0](None, model=pipes[0].model), lambda: makers[1](None, model=pipes[1].model))
    )
    assert isinstance(expected, RuntimeError) and isinstance(got, RuntimeError)


def test_task_follows_from_the_bundle(makers: tuple[Any, Any], bundles: Callable[..., Path]) -> None:
    """Beyond transformers, which queries the Hub even for a folder."""
    assert makers[1](None, model=str(bundles("bert", "ner"))).task == "token-classification"


def test_path_as_model(makers: tuple[Any, Any], model: str, bundle: str) -> None:
    for make, folder in zip(makers, (model, bundle), strict=True):
        assert make(model=Path(folder)).task == TASK


def test_framework_of_version_four(makers: tuple[Any, Any]) -> None:
    assert makers[1](framework="pt").framework == "pt"
    with pytest.raises(ValueError, match="framework"):
        makers[1](framework="tf")


def test_old_spelling_of_dtype(makers: tuple[Any, Any]) -> None:
    for make in makers:
        assert str(make(torch_dtype="float32").dtype).endswith("float32")


def test_unknown_device(makers: tuple[Any, Any]) -> None:
    expected, got = errors((lambda: makers[0](device="nowhere"), lambda: makers[1](device="nowhere")))
    assert isinstance(expected, RuntimeError) and isinstance(got, RuntimeError)


# -- the pipeline -----------------------------------------------------------------------------------------------------
ATTRIBUTES = (
    "task",
    "binary_output",
    "_batch_size",
    "_num_workers",
    "feature_extractor",
    "image_processor",
    "processor",
)


@pytest.mark.parametrize("ctor", [{}, {"batch_size": 3, "num_workers": 0, "binary_output": True}], ids=["plain", "set"])
def test_attributes(makers: tuple[Any, Any], ctor: dict[str, Any]) -> None:
    expected, got = (make(**ctor) for make in makers)
    for name in ATTRIBUTES:
        assert getattr(got, name) == getattr(expected, name), name
    assert (str(got.device), got.device.type) == (str(expected.device), expected.device.type)
    assert str(got.dtype).rpartition(".")[2] == str(expected.dtype).rpartition(".")[2]
    assert str(got.torch_dtype) == str(got.dtype)
    assert got.framework == "pt"
    assert got.modelcard is None
    assert type(got).__name__ == type(expected).__name__ == "TextClassificationPipeline"


def test_config_of_the_model(pipes: tuple[Any, Any]) -> None:
    expected, got = (pipe.model.config for pipe in pipes)
    for name in ("id2label", "label2id", "num_labels", "model_type", "problem_type", "pad_token_id", "vocab_size"):
        assert getattr(got, name) == getattr(expected, name), name
    assert got.architectures == expected.architectures
    assert pipes[1].model.can_generate() is pipes[0].model.can_generate() is False


def test_tokenizer_of_the_pipeline(pipes: tuple[Any, Any]) -> None:
    expected, got = (pipe.tokenizer for pipe in pipes)
    names = ("pad_token_id", "mask_token", "cls_token_id", "sep_token", "model_max_length", "padding_side", "is_fast")
    for name in (*names, "truncation_side", "model_input_names", "vocab_size"):
        assert getattr(got, name) == getattr(expected, name), name
    assert sorted(got.all_special_ids) == sorted(expected.all_special_ids)


def test_calls_are_counted(makers: tuple[Any, Any]) -> None:
    for make in makers:
        pipe = make()
        pipe(TEXTS[0])
        pipe(TEXTS)
        assert pipe.call_count == 2


def test_predict_and_transform(pipes: tuple[Any, Any]) -> None:
    for pipe in pipes:
        assert pipe.predict(TEXTS) == pipe(TEXTS)
        assert pipe.transform(TEXTS[0]) == pipe(TEXTS[0])


def test_empty_list(pipes: tuple[Any, Any]) -> None:
    """As 4.57; 5.x raises IndexError."""
    assert pipes[1]([]) == []


def test_extra_positionals(ours: Ours, theirs: Transformers) -> None:
    """Ignored with a warning, except by tasks that name their arguments."""
    answers = [library.pipe("feature-extraction", "bert", "base", {})("London", "more") for library in (theirs, ours)]
    assert same(*answers) is None


def test_batches_need_a_pad_token(makers: tuple[Any, Any]) -> None:
    pipes = [make() for make in makers]
    for pipe in pipes:
        pipe.tokenizer.pad_token = None
        assert len(pipe(TEXTS[:2], batch_size=1)) == 2
    assert_same_error((lambda: pipes[0](TEXTS, batch_size=2), lambda: pipes[1](TEXTS, batch_size=2)))


# -- streams ----------------------------------------------------------------------------------------------------------
def test_key_datasets() -> None:
    from transformers.pipelines import pt_utils

    import onnxpipe

    rows = [{"a": "one", "b": 1}, {"a": "two", "b": 2}]
    for library in (pt_utils, onnxpipe):
        keyed, pairs = library.KeyDataset(rows, "a"), library.KeyPairDataset(rows, "a", "b")
        assert (len(keyed), keyed[1]) == (2, "two")
        assert (len(pairs), pairs[0]) == (2, {"text": "one", "text_pair": 1})


@pytest.mark.parametrize(("size", "batches"), [(None, 5), (1, 5), (2, 3), (4, 2), (5, 1)])
def test_length_counts_batches(makers: tuple[Any, Any], size: int | None, batches: int) -> None:
    from transformers.pipelines.pt_utils import KeyDataset

    import onnxpipe

    rows = [{"text": text} for text in TEXTS]
    kwargs = {} if size is None else {"batch_size": size}
    for make, keyed in zip(makers, (KeyDataset, onnxpipe.KeyDataset), strict=True):
        stream = make()(keyed(rows, "text"), **kwargs)
        assert type(stream).__name__ == "PipelineIterator"
        assert len(stream) == batches
        assert len(list(stream)) == 5


def test_generators_have_no_length(pipes: tuple[Any, Any]) -> None:
    for pipe in pipes:
        stream = pipe(text for text in TEXTS)
        assert type(stream).__name__ == "PipelineIterator"
        with pytest.raises(TypeError):
            len(stream)


def test_generators_are_lazy(pipes: tuple[Any, Any]) -> None:
    """Transformers 5 takes one item at the call, to see whether it is a chat; neither runs ahead without bound."""
    for pipe in pipes:
        taken: list[int] = []

        def texts(taken: list[int] = taken) -> Iterator[str]:
            for i in range(2000):
                taken.append(i)
                yield TEXTS[i % 5]

        stream = iter(pipe(texts()))
        assert len(taken) <= 1
        first = next(stream)
        assert first == pipe(TEXTS[0])[0]
        assert len(taken) < 500


def test_what_came_before_an_error_is_kept(pipes: tuple[Any, Any]) -> None:
    seen = []
    for pipe in pipes:
        answers: list[Any] = []
        with pytest.raises(ValueError, match="text pairs"):
            for answer in pipe(text for text in [*TEXTS[:3], ["a", "b"]]):
                answers.append(answer)  # noqa: PERF402 - the ones before the error are what is looked at
        seen.append(answers)
    assert len(seen[1]) == 3
    assert same(*seen) is None


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(pipes: tuple[Any, Any], workers: int) -> None:
    assert same(pipes[0](TEXTS), pipes[1](TEXTS, num_workers=workers, batch_size=2)) is None


# -- saving -----------------------------------------------------------------------------------------------------------
def test_saved_and_loaded_again(makers: tuple[Any, Any], tmp_path: Path) -> None:
    for name, make in zip(("theirs", "ours"), makers, strict=True):
        pipe, folder = make(), tmp_path / name / "deep"
        pipe.save_pretrained(str(folder))
        assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= {path.name for path in folder.iterdir()}
        assert make(model=str(folder))(TEXTS) == pipe(TEXTS)


def test_saving_over_a_file_does_nothing(pipes: tuple[Any, Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept", encoding="utf-8")
    for pipe in pipes:
        pipe.save_pretrained(str(file))
    assert file.read_text(encoding="utf-8") == "kept"


# -- tasks of the user's own ------------------------------------------------------------------------------------------
def _custom(base: Any, tensors: str) -> Any:
    """A pipeline as the documentation of transformers teaches it, over the `Pipeline` of one library."""

    class PairPipeline(base):
        def _sanitize_parameters(self, **kwargs: Any) -> Any:
            preprocess = {"second": kwargs["second"]} if "second" in kwargs else {}
            return preprocess, {}, {name: kwargs[name] for name in ("digits",) if name in kwargs}

        def preprocess(self, text: str, second: str | None = None) -> Any:
            return self.tokenizer(text, text_pair=second, return_tensors=tensors)

        def _forward(self, model_inputs: Any) -> Any:
            return self.model(**model_inputs)

        def postprocess(self, model_outputs: Any, digits: int = 4) -> Any:
            logits = np.asarray(model_outputs["logits"])[0]
            best = int(logits.argmax())
            return {"label": self.model.config.id2label[best], "score": round(float(logits[best]), digits)}

    return PairPipeline


@pytest.fixture
def registered(makers: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The same custom task registered in both libraries: the two makers."""
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    import onnxpipe

    auto = "AutoModelForSequenceClassification"
    classes = _custom(transformers.Pipeline, "pt"), _custom(onnxpipe.Pipeline, "np")
    registries = PIPELINE_REGISTRY, onnxpipe.PIPELINE_REGISTRY
    for registry, cls, library in zip(registries, classes, (transformers, onnxpipe), strict=True):
        registry.register_pipeline("pair-label", pipeline_class=cls, pt_model=getattr(library, auto))
        assert cls._registered_impl == {"pair-label": {"impl": cls, "pt": (getattr(library, auto),)}}
    yield makers
    for registry in registries:
        assert "pair-label" in registry.get_supported_tasks()
        del registry.supported_tasks["pair-label"]


@pytest.mark.parametrize("size", [1, 2])
def test_custom_task(registered: tuple[Any, Any], size: int) -> None:
    pipes = [make("pair-label", second="a book") for make in registered]
    assert [pipe.task for pipe in pipes] == ["pair-label"] * 2
    for call in (
        lambda pipe: pipe(TEXTS[0]),
        lambda pipe: pipe(TEXTS[0], second="the end", digits=2),
        lambda pipe: pipe(TEXTS, batch_size=size),
        lambda pipe: list(pipe(text for text in TEXTS)),
    ):
        assert same(call(pipes[0]), call(pipes[1])) is None


def test_class_in_place_of_the_tasks_own(makers: tuple[Any, Any]) -> None:
    import transformers

    import onnxpipe

    classes = _custom(transformers.Pipeline, "pt"), _custom(onnxpipe.Pipeline, "np")
    answers = [make(pipeline_class=cls)(TEXTS) for make, cls in zip(makers, classes, strict=True)]
    assert same(*answers) is None
