"""The shapes of text-embeddings-inference, and of Cohere's rerank."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.serving.answers import plain_answer
from onnxpipe.serving.bodies import json_response, parse_body, read_body, read_object
from onnxpipe.serving.dialects.errors import endpoint
from onnxpipe.serving.dialects.huggingface import HuggingFaceRoutes
from onnxpipe.serving.dialects.openai_completions import read_prompts
from onnxpipe.serving.dialects.openai_embeddings import check_dimensions, embeds
from onnxpipe.serving.dialects.openai_options import flag, number
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.inputs import read_inputs
from onnxpipe.serving.parameters import unknown_field
from onnxpipe.serving.served import ServedModel
from onnxpipe.tasks.embedding import SentenceSimilarityPipeline
from onnxpipe.tasks.feature_extraction import FeatureExtractionPipeline
from onnxpipe.tasks.text_classification import TextClassificationPipeline
from onnxpipe.tasks.text_ranking import TextRankingPipeline

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

_TRUNCATION = frozenset({"truncate", "truncation_direction"})
#: Fields that only TEI's `/predict` has.
_PREDICT = frozenset({"raw_scores", *_TRUNCATION})


class TeiRoutes:
    """The routes of text-embeddings-inference, and of rerank."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._own_predict = endpoint("huggingface", HuggingFaceRoutes(state).own)

    def routes(self) -> list[Route]:
        """Return the routes."""
        found = [
            ("/embed", self.embed), ("/embed_all", self.embed_all), ("/embed_sparse", self.embed_sparse),
            ("/rerank", self.rerank), ("/similarity", self.similarity), ("/tokenize", self.tokenize),
            ("/decode", self.decode), ("/predict", self.predict),
        ]  # fmt: skip
        cohere = [
            Route(path, endpoint("rerank", self.cohere), methods=["POST"]) for path in ("/v1/rerank", "/v2/rerank")
        ]
        return [*cohere, *(Route(path, endpoint("tei", function), methods=["POST"]) for path, function in found)]

    async def _body(self, request: Request, fields: frozenset[str]) -> dict[str, Any]:
        body = await read_object(request, self._state.settings.max_json)
        for name in body:
            if name not in fields:
                raise unknown_field(name, fields, "field")
        if body.get("truncation_direction") not in (None, "Right", "right"):
            raise bad_request("truncation_direction: texts are cut on the right here", "truncation_direction")
        return body

    def _texts(self, body: Mapping[str, Any], served: ServedModel) -> list[str]:
        given = body.get("inputs")
        if given in ("", [], None):
            raise RequestFault(400, "inputs is empty", "empty", "inputs")
        texts = read_prompts(given, served, self._state.settings.max_inputs, "inputs")
        if not all(texts):
            raise RequestFault(400, "inputs has an empty text", "empty", "inputs")
        return texts

    def _find(self, request: Request, kind: type | tuple[type, ...], what: str) -> ServedModel:
        served = self._state.table.for_tasks(None, lambda each: isinstance(each.pipe, kind), what)
        exchange_of(request).served = served
        return served

    async def embed(self, request: Request) -> Response:
        """Embed texts: a list of vectors."""
        fields = frozenset({"inputs", "normalize", "prompt_name", "dimensions", *_TRUNCATION})
        body = await self._body(request, fields)
        served = self._state.table.for_tasks(None, embeds, "/embed")
        exchange_of(request).served = served
        texts = self._texts(body, served)
        options: dict[str, Any] = {
            "truncation": flag(body, "truncate"),
            "normalize": body.get("normalize") is not False,
        }
        if body.get("prompt_name") is not None:
            options["prompt_name"] = body["prompt_name"]
        size = number(body, "dimensions", (1, 1_000_000), whole=True)
        if size is not None:
            check_dimensions(served, size)
            options["truncate_dim"] = size
        vectors = await self._state.calls.answer(request, served, lambda view: view(texts, **options))
        return json_response([vector.tolist() for vector in vectors])

    async def embed_all(self, request: Request) -> Response:
        """Give the features of all tokens of texts."""
        body = await self._body(request, frozenset({"inputs", *_TRUNCATION}))
        served = self._find(request, FeatureExtractionPipeline, "/embed_all")
        texts, cut = self._texts(body, served), flag(body, "truncate")
        answers = await self._state.calls.answer(request, served, lambda view: view(texts, truncation=cut))
        return json_response([plain_answer(answer)[0] for answer in answers])

    async def embed_sparse(self, request: Request) -> Response:
        """Refuse: no task here gives sparse vectors."""
        raise bad_request("no model here gives sparse vectors: ask /embed", "inputs")

    async def rerank(self, request: Request) -> Response:
        """Rank texts for a query."""
        body = await self._body(request, frozenset({"query", "texts", "raw_scores", "return_text", *_TRUNCATION}))
        served = self._find(request, TextRankingPipeline, "/rerank")
        query, texts = body.get("query"), self._documents(body.get("texts"), "texts")
        if not isinstance(query, str) or not query:
            raise RequestFault(400, "query is empty", "empty", "query")
        function = "none" if flag(body, "raw_scores") else "sigmoid"
        ranked = await self._rank(request, served, query, texts, function_to_apply=function)
        with_text = flag(body, "return_text")
        return json_response([
            {"index": each["index"], "score": each["score"], **({"text": texts[each["index"]]} if with_text else {})}
            for each in ranked
        ])  # fmt: skip

    async def cohere(self, request: Request) -> Response:
        """Rank documents for a query, as Cohere's API does."""
        fields = frozenset({"model", "query", "documents", "top_n", "return_documents"})
        body = await read_object(request, self._state.settings.max_json)
        for name in body:
            if name not in fields:
                raise unknown_field(name, fields, "field")
        served = self._state.table.for_tasks(
            body.get("model"), lambda each: isinstance(each.pipe, TextRankingPipeline), "/v1/rerank"
        )
        exchange_of(request).served = served
        documents = body.get("documents")
        if isinstance(documents, list):
            documents = [each.get("text") if isinstance(each, Mapping) else each for each in documents]
        texts, query = self._documents(documents, "documents"), body.get("query")
        if not isinstance(query, str) or not query:
            raise bad_request("query is a text", "query")
        top = number(body, "top_n", (1, 1_000_000), whole=True)
        ranked = await self._rank(request, served, query, texts, **({} if top is None else {"top_k": top}))
        with_text = flag(body, "return_documents")
        results = [
            {"index": each["index"], "relevance_score": each["score"],
             **({"document": {"text": texts[each["index"]]}} if with_text else {})}
            for each in ranked
        ]  # fmt: skip
        return json_response({"id": str(uuid.uuid4()), "results": results, "meta": {}})

    def _documents(self, given: Any, name: str) -> list[str]:
        most = self._state.settings.max_labels
        if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
            raise bad_request(f"{name} is a list of texts", name)
        if len(given) > most:
            raise RequestFault(413, f"{name} has {len(given):,} entries; the most are {most}", "too_many", name)
        return given

    async def _rank(self, request: Request, served: ServedModel, query: str, texts: list[str], **options: Any) -> Any:
        value = {"query": query, "documents": texts}
        return await self._state.calls.answer(
            request, served, lambda view: view(value, return_documents=False, **options)
        )

    async def similarity(self, request: Request) -> Response:
        """Compare a sentence with others."""
        body = await self._body(request, frozenset({"inputs", "parameters"}))
        served = self._find(request, SentenceSimilarityPipeline, "/similarity")
        if not isinstance(body.get("inputs"), Mapping):
            raise bad_request("inputs is an object with source_sentence and sentences", "inputs")
        inputs = read_inputs(body["inputs"], served.spec, self._state.settings)
        options = served.read_parameters(body.get("parameters"), self._state.settings)
        return json_response(await self._state.calls.answer(request, served, lambda view: view(inputs, **options)))

    async def tokenize(self, request: Request) -> Response:
        """Cut texts into tokens."""
        body = await self._body(request, frozenset({"inputs", "add_special_tokens", "prompt_name"}))
        served = self._state.table.find()
        tokenizer = _tokenizer(served)
        given = body.get("inputs")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(each, str) for each in texts):
            raise bad_request("inputs is a text, or a list of texts", "inputs")
        if len(texts) > self._state.settings.max_inputs:
            raise RequestFault(413, f"inputs has {len(texts):,} entries", "too_many", "inputs")
        special = body.get("add_special_tokens") is not False

        def cut(view: Any) -> list[list[dict[str, Any]]]:
            return [_tokens(tokenizer, text, special) for text in texts]

        return json_response(await self._state.calls.answer(request, served, cut))

    async def decode(self, request: Request) -> Response:
        """Turn ids of tokens into texts."""
        body = await self._body(request, frozenset({"ids", "skip_special_tokens"}))
        served = self._state.table.find()
        tokenizer, given = _tokenizer(served), body.get("ids")
        rows = given if isinstance(given, list) and given and isinstance(given[0], list) else [given]
        for row in rows:
            if not isinstance(row, list) or not all(type(each) is int and 0 <= each < len(tokenizer) for each in row):
                raise bad_request("ids is a list of the model's tokens, or a list of such lists", "ids")
        skip = body.get("skip_special_tokens") is not False
        return json_response([str(tokenizer.decode(row, skip_special_tokens=skip)) for row in rows])

    async def predict(self, request: Request) -> Response:
        """Classify as TEI does where the body has its fields or its batches of lists; else as the pipeline does."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            return await self._own_predict(request)
        body = parse_body(await read_body(request, self._state.settings.max_body))
        inputs = body.get("inputs") if isinstance(body, Mapping) else None
        nested = isinstance(inputs, list) and bool(inputs) and all(isinstance(each, list) for each in inputs)
        if not isinstance(body, Mapping) or "parameters" in body or not (nested or _PREDICT & body.keys()):
            return await self._own_predict(request)
        body = await self._body(request, frozenset({"inputs", *_PREDICT}))
        served = self._find(request, TextClassificationPipeline, "/predict")
        many = isinstance(inputs, list) and (nested or len(inputs) != 2)
        values = [_pair(each) for each in (inputs if many and isinstance(inputs, list) else [inputs])]
        if len(values) > self._state.settings.max_inputs:
            raise RequestFault(413, f"inputs has {len(values):,} entries", "too_many", "inputs")
        options: dict[str, Any] = {"top_k": None, "truncation": flag(body, "truncate")}
        if flag(body, "raw_scores"):
            options["function_to_apply"] = "none"
        answers = await self._state.calls.answer(request, served, lambda view: view(values, **options))
        return json_response(answers if many else answers[0])


def _pair(value: Any) -> Any:
    """Read a text, a list of one text, or a pair of them."""
    texts = [value] if isinstance(value, str) else value
    if (
        not isinstance(texts, list)
        or len(texts) not in (1, 2)
        or not all(isinstance(each, str) and each for each in texts)
    ):
        raise bad_request("each input is a text, or a pair of texts", "inputs")
    return texts[0] if len(texts) == 1 else {"text": texts[0], "text_pair": texts[1]}


def _tokenizer(served: ServedModel) -> Any:
    tokenizer = getattr(served.pipe, "_tokenizer", None)
    if tokenizer is None:
        raise bad_request(f"{served.name} has no tokenizer", "model")
    return tokenizer


def _tokens(tokenizer: Any, text: str, special: bool) -> list[dict[str, Any]]:
    encoding = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, return_special_tokens_mask=True)
    found = []
    for token, (start, stop), mark in zip(
        encoding["input_ids"], encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True
    ):
        places = (None, None) if mark else (int(start), int(stop))
        shown = str(tokenizer.decode([token])) if mark else text[start:stop]
        found.append({"id": int(token), "text": shown, "special": bool(mark), "start": places[0], "stop": places[1]})
    return found
