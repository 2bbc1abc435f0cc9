"""The caches of a decoding, on graphs small enough to know what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxpipe.bundle import Config
from onnxpipe.bundle.graph_reader import operators
from onnxpipe.bundle.layout import needed_graphs
from onnxpipe.engine import Device, open_session
from onnxpipe.engine.binding import DeviceArray
from onnxpipe.errors import RowTooLongError, UnsupportedError
from onnxpipe.models.cache_shape import cache_shape
from onnxpipe.models.causal_lm.decoder import PaddedDecoder, RaggedDecoder
from onnxpipe.models.causal_lm.graph import CausalGraph
from onnxpipe.models.causal_lm.inputs import TokenIds
from onnxpipe.models.causal_lm.model import CausalLM
from onnxpipe.models.causal_lm.slots import SlotCache
from onnxpipe.models.causal_lm.switching import SwitchingDecoder
from onnxpipe.models.causal_lm.uncached import UncachedDecoder
from onnxpipe.models.seq2seq.decoder import _once
from tolerances import SUM

CPU = Device("cpu")
WIDTH = 8


def _value(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def _constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


_SHARED_INPUTS = [
    _value("input_ids", TensorProto.INT64, "b", "s"),
    _value("attention_mask", TensorProto.INT64, "b", "t"),
]
_CACHES = [_value(f"past_key_values.0.{kind}", TensorProto.FLOAT, "b", 1, "p", WIDTH) for kind in ("key", "value")]
_PRESENT = [_value(f"present.0.{kind}", TensorProto.FLOAT, "b", 1, "t", WIDTH) for kind in ("key", "value")]
_SPREAD = [  # each token's number, WIDTH times: (b, s, WIDTH)
    helper.make_node("Cast", ["input_ids"], ["floats"], to=TensorProto.FLOAT),
    helper.make_node("Unsqueeze", ["floats", "last"], ["thin"]),
    helper.make_node("Tile", ["thin", "times"], ["values"]),
]
_CONSTANTS = [
    _constant("last", np.array([-1])),
    _constant("times", np.array([1, 1, WIDTH])),
    _constant("zero", np.array([0])),
    _constant("one", np.array([1])),
    _constant("one_float", np.array(1, np.float32)),
]


def _save(
    path: Path,
    nodes: list[Any],
    domains: list[Any],
    states: Sequence[tuple[Any, Any]] = (),
    *,
    cached: bool = True,
    more: Sequence[Any] = (),
) -> CausalGraph:
    logits = _value("logits", TensorProto.FLOAT, "b", "s", 1)
    inputs, outputs = [*_SHARED_INPUTS, *(_CACHES if cached else ())], [logits, *(_PRESENT if cached else ()), *more]
    graph = helper.make_graph(
        nodes, "toy", [*inputs, *(past for past, _ in states)], [*outputs, *(new for _, new in states)], _CONSTANTS
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), *domains], ir_version=9), str(path))
    session = open_session(path, root=path.parent, device=CPU)
    return CausalGraph(session, session, "fp32", Config({}))


@pytest.fixture
def ragged(tmp_path: Path) -> CausalGraph:
    """Attention that weighs all tokens of a row equally: the logits are the mean of the tokens so far."""
    query = ["nothing", "nothing", "values", "past_key_values.0.key", "past_key_values.0.value", "seqlens", "total"]
    nodes = [
        *_SPREAD,
        helper.make_node("Sub", ["values", "values"], ["nothing"]),
        helper.make_node("ReduceSum", ["attention_mask", "one"], ["count"], keepdims=0),
        helper.make_node("Sub", ["count", "one"], ["before"]),
        helper.make_node("Cast", ["before"], ["seqlens"], to=TensorProto.INT32),
        helper.make_node("Shape", ["attention_mask"], ["size"], start=1),
        helper.make_node("Squeeze", ["size"], ["width"]),
        helper.make_node("Cast", ["width"], ["total"], to=TensorProto.INT32),
        helper.make_node(
            "GroupQueryAttention",
            query,
            ["mean", "present.0.key", "present.0.value"],
            domain="com.microsoft",
            num_heads=1,
            kv_num_heads=1,
        ),
        helper.make_node("Slice", ["mean", "zero", "one", "last"], ["logits"]),
    ]
    return _save(tmp_path / "model.onnx", nodes, [helper.make_opsetid("com.microsoft", 1)])


@pytest.fixture
def uncached(tmp_path: Path) -> CausalGraph:
    """The same as `padded`, from all the row's tokens at once, and twice: as hidden states too."""
    nodes = [
        *_SPREAD,
        helper.make_node("Cast", ["attention_mask"], ["shown"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "one"], ["row"]),
        helper.make_node("MatMul", ["row", "values"], ["sum"]),  # (b, 1, WIDTH)
        helper.make_node("Sub", ["values", "values"], ["nothing"]),
        helper.make_node("Add", ["nothing", "sum"], ["last_hidden_state"]),
        helper.make_node("Slice", ["last_hidden_state", "zero", "one", "last"], ["logits"]),
    ]
    hidden = _value("last_hidden_state", TensorProto.FLOAT, "b", "s", WIDTH)
    return _save(tmp_path / "uncached.onnx", nodes, [], cached=False, more=[hidden])


@pytest.fixture
def padded(tmp_path: Path) -> CausalGraph:
    """The logits are the sum of the row's tokens so far that the mask shows."""
    both = [
        helper.make_node("Concat", [f"past_key_values.0.{kind}", "heads"], [f"present.0.{kind}"], axis=2)
        for kind in ("key", "value")
    ]
    nodes = [
        *_SPREAD,
        helper.make_node("Unsqueeze", ["values", "one"], ["heads"]),
        *both,
        helper.make_node("Cast", ["attention_mask"], ["shown"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["shown", "one"], ["row"]),
        helper.make_node("Squeeze", ["present.0.value", "one"], ["cache"]),
        helper.make_node("MatMul", ["row", "cache"], ["sum"]),  # (b, 1, WIDTH)
        helper.make_node("Slice", ["sum", "zero", "one", "last"], ["total"]),
        helper.make_node("Sub", ["thin", "thin"], ["nothing"]),
        helper.make_node("Add", ["nothing", "total"], ["logits"]),  # (b, s, 1)
    ]
    return _save(tmp_path / "model.onnx", nodes, [])


def _with_state(graph: CausalGraph, shape: tuple[Any, ...] = ("b", 1, 2)) -> CausalGraph:
    """Add a state of two numbers, each of which counts the tokens of a row, padding too, and add both to the logits."""
    model = onnx.load(graph.session.path)
    nodes = list(model.graph.node)
    nodes[-1].output[0] = "plain"
    nodes += [
        helper.make_node("Sub", ["thin", "thin"], ["naught"]),
        helper.make_node("Add", ["naught", "one_float"], ["ones"]),
        helper.make_node("ReduceSum", ["ones", "one"], ["count_of_tokens"]),  # (b, 1, 1)
        helper.make_node("Add", ["past_conv.0", "count_of_tokens"], ["present_conv.0"]),
        helper.make_node("ReduceSum", ["present_conv.0", "last"], ["twice"]),
        helper.make_node("Add", ["plain", "twice"], ["logits"]),
    ]
    state = tuple(_value(f"{when}_conv.0", TensorProto.FLOAT, *shape) for when in ("past", "present"))
    domains = [entry for entry in model.opset_import if entry.domain]
    return _save(Path(graph.session.path).with_name("state.onnx"), nodes, domains, [state])


PROMPTS = [np.array([2, 4, 6]), np.array([10]), np.array([1, 3])]


def test_the_kind_follows_from_the_operators(ragged: CausalGraph, tmp_path: Path) -> None:
    assert ragged.ragged
    assert {"GroupQueryAttention", "Slice"} <= operators(tmp_path / "model.onnx")


def test_rows_of_different_lengths_share_buffers(ragged: CausalGraph) -> None:
    decoder = RaggedDecoder(ragged, PROMPTS, 2, max_length=400, hidden=False)
    rows = [list(p) for p in PROMPTS for _ in range(2)]
    assert decoder.rows == 6
    assert decoder.prefill().ravel() == pytest.approx([np.mean(row) for row in rows])
    random = np.random.default_rng(0)
    for number in range(300):  # beyond the first room of the buffers
        if number == 5:
            order = np.array([1, 0, 2, 2, 5, 4])
            decoder.reorder(order)
            rows = [list(rows[i]) for i in order]
        if number == 9:
            decoder.crop(3)
            rows = [row[:-3] for row in rows]
        if number == 12:
            order = np.array([0, 3, 3])
            decoder.reorder(order)
            rows = [list(rows[i]) for i in order]
        tokens = random.integers(0, 50, (decoder.rows, 2 if number == 7 else 1))
        rows = [row + list(new) for row, new in zip(rows, tokens, strict=True)]
        assert decoder.step(tokens)[:, -1, 0] == pytest.approx([np.mean(row) for row in rows], rel=SUM)


def test_rows_that_come_and_go(ragged: CausalGraph) -> None:
    random, slots = np.random.default_rng(1), SlotCache(ragged, 3)
    rows: list[list[int]] = []

    def admit() -> None:
        row = random.integers(0, 50, int(random.integers(1, 300)))
        if rows and len(row) > 250:  # as the next turn of a chat
            row = np.array([*gone_rows[-1][:200], *row[200:]]) if gone_rows and len(gone_rows[-1]) > 200 else row
        run = slots.begin(row, 2000)
        logits = None
        while logits is None:
            logits = run.advance()
        slots.admit(run)
        rows.append(row.tolist())
        assert logits.ravel() == pytest.approx([row.mean()], rel=SUM)

    gone_rows: list[list[int]] = []
    admit()
    for number in range(600):  # beyond the first room of the buffers
        if number % 7 == 0 and slots.rows < 3:
            admit()
        tokens = random.integers(0, 50, (slots.rows, 1))
        for row, token in zip(rows, tokens[:, 0], strict=True):
            row.append(int(token))
        assert slots.step(tokens).ravel() == pytest.approx([np.mean(row) for row in rows], rel=SUM)
        if number % 97 == 96:
            gone = int(random.integers(0, slots.rows))
            slots.leave(gone, np.array(rows[gone]))
            gone_rows.append(rows[gone])
            rows[gone] = rows[-1]
            rows.pop()
            if not rows:
                admit()
    assert slots.rows == len(rows)


def test_copies_of_a_prompt_go_on_apart(ragged: CausalGraph) -> None:
    slots, prompt = SlotCache(ragged, 4), np.arange(150)
    run = slots.begin(np.arange(5), 400)
    assert run.advance() is not None
    slots.admit(run)
    run = slots.begin(prompt, 400)
    assert run.advance() is None and run.advance() is not None
    slots.admit(run, 3)
    rows = [list(range(5)), *([*prompt] for _ in range(3))]
    for number in range(200):  # beyond the first room of the buffers
        tokens = np.array([[number], [1], [2 * number], [7]])[: slots.rows]
        for row, token in zip(rows, tokens[:, 0], strict=True):
            row.append(int(token))
        assert slots.step(tokens).ravel() == pytest.approx([np.mean(row) for row in rows], rel=SUM)
        if number == 100:
            slots.leave(1, np.array(rows[1]))
            rows[1] = rows.pop()


def test_a_prompt_continues_from_the_longest_row_of_its_owner_that_begins_alike(ragged: CausalGraph) -> None:
    slots, chat = SlotCache(ragged, 2), np.arange(300)

    def answer(tokens: Any, owner: str) -> int:
        run = slots.begin(tokens, 2000, owner)
        pieces = 1
        while (logits := run.advance()) is None:
            pieces += 1
        assert logits.ravel() == pytest.approx([tokens.mean()], rel=SUM)
        assert pieces == -(-(len(tokens) - run.cached) // 128)
        slots.admit(run)
        slots.step(np.array([[7]]))
        slots.leave(0, np.array([*tokens, 7]), owner)
        return run.cached

    assert answer(chat, "a") == 0
    assert answer(np.array([*chat, 7, 1, 2, 3]), "a") == 301
    assert answer(chat, "b") == 0  # another's
    assert answer(np.array([*chat[:200], 1, 1]), "a") == 200
    assert answer(chat[:10], "a") == 0  # too few to be worth it
    assert answer(chat, "a") == 299  # the last token is always run: its logits are needed
    for start in (1000, 2000, 3000):
        answer(np.arange(start, start + 50), "a")
    assert answer(chat, "a") == 0  # the rows that were used longest ago make room


def test_nothing_is_kept_where_it_must_not(ragged: CausalGraph) -> None:
    slots, chat = SlotCache(ragged, 2, keep=False), np.arange(50)
    for _ in range(2):
        run = slots.begin(chat, 100)
        assert run.cached == 0 and run.advance() is not None
        slots.admit(run)
        slots.leave(0, chat)


def test_several_tokens_at_once(ragged: CausalGraph, padded: CausalGraph) -> None:
    one = RaggedDecoder(ragged, PROMPTS[:1], 1, max_length=20, hidden=False)
    one.prefill()
    assert one.step(np.array([[8, 10]]), keep=2)[0, :, 0] == pytest.approx([5.0, 6.0])


@pytest.mark.parametrize("kind", ["padded", "uncached"])
def test_padding_at_the_left(kind: str, request: pytest.FixtureRequest) -> None:
    graph = request.getfixturevalue(kind)
    assert not graph.ragged
    assert graph.uncached == (kind == "uncached")
    decoder: Any = (UncachedDecoder if graph.uncached else PaddedDecoder)(graph, PROMPTS, 2, hidden=graph.uncached)
    rows = [list(p) for p in PROMPTS for _ in range(2)]
    assert decoder.prefill().ravel() == pytest.approx([sum(row) for row in rows])
    for number, order in enumerate([[0, 0, 2, 3, 5, 5], [1, 1, 4], [2, 0, 1]]):
        tokens = np.arange(decoder.rows)[:, None] + number
        rows = [row + list(new) for row, new in zip(rows, tokens, strict=True)]
        assert decoder.step(tokens).ravel() == pytest.approx([sum(row) for row in rows])
        decoder.reorder(np.array(order))
        rows = [list(rows[i]) for i in order]
    if graph.uncached:
        assert decoder.hidden.shape == (3, 1, WIDTH)  # as many as the last step's tokens
    decoder.crop(2)
    rows = [row[:-2] for row in rows]
    assert decoder.step(np.ones((3, 1), np.int64)).ravel() == pytest.approx([sum(row) + 1 for row in rows])


@pytest.mark.parametrize("kind", ["ragged", "padded"])
def test_states_are_kept_and_reordered_with_their_rows(kind: str, request: pytest.FixtureRequest) -> None:
    """Each row's state has taken in its own tokens alone, whatever the others' lengths."""
    graph = _with_state(request.getfixturevalue(kind))
    assert graph.ragged == (kind == "ragged")
    assert graph.states == {"past_conv.0": (1, 2)}
    value: Any = np.mean if graph.ragged else np.sum

    def expected() -> Any:
        return pytest.approx([value(row) + 2 * len(row) for row in rows])

    prompts = {"different": PROMPTS, "equal": [np.array([5, 6]), np.array([7, 1])]}
    for chosen in prompts.values():
        decoder: Any = PaddedDecoder(graph, chosen, 2, hidden=False)
        if graph.ragged:
            decoder = RaggedDecoder(graph, chosen, 2, max_length=400, hidden=False)
        rows = [list(prompt) for prompt in chosen for _ in range(2)]
        assert decoder.prefill().ravel() == expected()
        for number, order in enumerate(([1, 0, 2, 3], [1, 1, 3], [2, 0, 1])):
            tokens = np.arange(decoder.rows)[:, None] + number
            rows = [row + list(new) for row, new in zip(rows, tokens, strict=True)]
            assert decoder.step(tokens).ravel() == expected()
            decoder.reorder(np.array(order))
            rows = [rows[i] for i in order]
        with pytest.raises(UnsupportedError, match=r"keeps states \(past_conv.0\).*assisted generation"):
            decoder.crop(1)


def test_logits_of_whole_rows_with_states(padded: CausalGraph) -> None:
    model = CausalLM.__new__(CausalLM)
    model.graph = _with_state(padded)
    alone = [model._logits([row], TokenIds([row]))[0] for row in PROMPTS]
    for one, many in zip(alone, model._logits(PROMPTS, TokenIds(PROMPTS)), strict=True):
        assert many.tolist() == one.tolist()


def test_states_and_inputs_that_cannot_be_fed(padded: CausalGraph) -> None:
    with pytest.raises(UnsupportedError, match=r"past_conv.0.*must be numbers"):
        _with_state(padded, ("b", 1, "width"))
    padded.check_inputs(("input_ids",))
    with pytest.raises(UnsupportedError, match="it takes 'input_ids', which is none"):
        padded.check_inputs(("inputs_embeds",))


def test_hidden_states_that_a_graph_does_not_give(ragged: CausalGraph) -> None:
    with pytest.raises(UnsupportedError, match="last_hidden_state"):
        RaggedDecoder(ragged, PROMPTS, 1, max_length=20, hidden=True)


LONGROPE = Config({"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 8})


def test_how_long_rows_may_be_where_frequencies_change(ragged: CausalGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = CausalGraph(ragged.session, ragged.session, "fp32", LONGROPE, 8)
    assert ours.changes_after == 8
    ours.check_length(9, 3)
    one_set = CausalGraph(ragged.session, ragged.session, "fp32", LONGROPE)
    assert one_set.changes_after is None
    one_set.check_length(8, 3)
    with pytest.raises(RowTooLongError, match="a row has 9 tokens and the model has positions for 8"):
        one_set.check_length(9, 1)
    found = "onnxpipe.models.causal_lm.graph.operators"  # as onnxruntime-genai writes them
    monkeypatch.setattr(found, lambda path: frozenset({"GroupQueryAttention", "If"}))
    of_batch = CausalGraph(ragged.session, ragged.session, "fp32", LONGROPE)
    assert of_batch.changes_after == 8
    of_batch.check_length(9, 1)
    with pytest.raises(RowTooLongError, match=r"from 9 on .* one by one"):
        of_batch.check_length(9, 2)


@pytest.mark.parametrize("limit", [3, 4, 5, 6, 7])
def test_a_decoding_that_begins_again_goes_on_as_one_that_does_not(limit: int, ragged: CausalGraph) -> None:
    begun: list[int] = []

    def start(rows: Sequence[Any], copies: int) -> RaggedDecoder:
        begun.append(len(rows) * copies)
        return RaggedDecoder(ragged, rows, copies, max_length=30, hidden=False)

    plain, switching = start(PROMPTS, 1), SwitchingDecoder(start, PROMPTS, 1, limit)
    begun.clear()
    answers: list[list[Any]] = [[decoder.prefill().copy()] for decoder in (plain, switching)]
    for decoder, answer in zip((plain, switching), answers, strict=True):
        for number in range(3):
            answer.append(decoder.step(np.full((decoder.rows, 1), number)).copy())
        decoder.reorder(np.array([1, 0, 1]))
        answer.append(decoder.step(np.array([[4, 5], [6, 7], [8, 9]]), keep=2).copy())
        decoder.crop(3)
        answer.append(decoder.step(np.array([[1], [2], [3]])).copy())
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one, other, rtol=SUM, atol=SUM)
    assert begun  # a row crosses each of these limits


def test_a_graph_without_a_cache(tmp_path: Path) -> None:
    from attacks.graphs import embedding, write_folder

    folder = write_folder(tmp_path, {"onnx/model.onnx": embedding()})
    session = open_session(folder / "onnx/model.onnx", root=folder, device=CPU)
    with pytest.raises(UnsupportedError, match="no cache"):
        CausalGraph(session, session, "fp32", Config({}))


def test_a_decoder_without_a_cache_says_once_that_it_is_slow(
    uncached: CausalGraph, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("model", "decoder_model"):
        bundle: Any = SimpleNamespace(folder="F", graphs={name: {}}, config=Config({}), changes_after=None)
        graph = CausalGraph.load(bundle, lambda _: (uncached.session, "fp32"))  # type: ignore[arg-type]
        decoder = UncachedDecoder(graph, PROMPTS, 1, hidden=False)
        decoder.prefill()
        decoder.step(np.ones((3, 1), np.int64))
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"{uncached.session.path} has no cache (past_key_values)"
    ] * 2


def test_device_arrays_share_numpy_memory_on_the_cpu() -> None:
    array = DeviceArray((3, 1, 4, 2), np.float32, CPU)
    array.numpy()[:] = np.arange(3).reshape(3, 1, 1, 1)
    array.permute(np.array([2, 1, 0]), length=2)
    assert array.value.numpy()[:, 0, :, 0].tolist() == [[2, 2, 0, 0], [1, 1, 1, 1], [0, 0, 2, 2]]
    assert array.take(np.array([0, 0]), length=2, room=3).numpy()[:, 0, :, 0].tolist() == [[2, 2, 0], [2, 2, 0]]
    assert array.select(np.array([1])).shape == (1, 1, 4, 2)


@pytest.mark.parametrize(
    ("origin", "once"), [([0, 0, 1, 1], [0, 1]), ([0, 1], [0, 1]), ([1, 1, 1], [1]), ([0, 0, 1], [0, 0, 1])]
)
def test_prompts_are_kept_once_where_all_have_equally_many_rows(origin: list[int], once: list[int]) -> None:
    assert _once(np.array(origin)).tolist() == once


def test_graphs_that_a_model_needs() -> None:
    assert needed_graphs(["model", "decoder_model_merged"]) == ("model",)
    merged = ["encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"]
    assert needed_graphs(merged) == ("decoder_model_merged", "encoder_model")
    assert needed_graphs(merged[:3]) == ("decoder_model", "decoder_with_past_model", "encoder_model")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_heads": 4, "hidden_size": 32, "num_key_value_heads": 2}, (2, 8)),
        ({"n_head": 4, "n_embd": 32}, (4, 8)),
        ({"num_attention_heads": 4, "hidden_size": 32, "head_dim": 16}, (4, 16)),
        ({"decoder_attention_heads": 2, "d_model": 32}, (2, 16)),
        ({"num_heads": 4, "d_kv": 12, "d_model": 32}, (4, 12)),
    ],
)
def test_heads_that_only_the_config_names(config: dict[str, int], expected: tuple[int, int]) -> None:
    spec = SimpleNamespace(shape=("b", "heads", "length", "size"))
    session: Any = SimpleNamespace(path="model.onnx", inputs={"past_key_values.0.key": spec})
    assert cache_shape(session, "past_key_values.0.key", Config(config)) == expected
    with pytest.raises(UnsupportedError, match="neither the graph nor"):
        cache_shape(session, "past_key_values.0.key", Config({}))


def test_a_row_beyond_the_positions_is_refused(ragged: CausalGraph) -> None:
    failure = RuntimeError("some operator failed")
    assert ragged.explained(failure, 1000) is failure  # the config names no limit
    ragged._config = Config({"max_position_embeddings": 8})
    assert ragged.explained(failure, 8) is failure
    assert "9 tokens and the model has positions for 8" in str(ragged.explained(failure, 9))


def test_an_encoder_decoder_is_not_a_causal_model() -> None:
    bundle: Any = SimpleNamespace(folder="F", graphs={"encoder_model": {}, "decoder_model_merged": {}})

    def opener(graph: str) -> Any:
        raise AssertionError(graph)

    with pytest.raises(UnsupportedError, match="AutoModelForSeq2SeqLM"):
        CausalGraph.load(bundle, opener)
