"""Assisted decoding: check several guessed tokens in one run of the model (Leviathan et al. 2023).

Greedy results are those of greedy search. Sampling has the distribution of plain sampling; with prompt lookup, whose
guesses are not drawn, it has even the same tokens for the same seed.
"""

from __future__ import annotations

import numpy as np

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.candidates import Assistant, Guess, Guesser, PromptLookup
from onnxpipe.generation.numerics import softmax
from onnxpipe.generation.protocols import Array, Decoder, GenerationModel, TextTokenizer
from onnxpipe.generation.request import DecodingRequest, SearchResult, StepRecord
from onnxpipe.generation.token_buffer import TokenBuffer


def assisted(
    request: DecodingRequest,
    model: GenerationModel | None,
    tokenizer: TextTokenizer | None,
    assistant_tokenizer: TextTokenizer | None,
) -> SearchResult:
    """Decode one row with guesses of `model`, or from the row itself if the config has `prompt_lookup_num_tokens`.

    Raises:
        ValueError: more than one row; a model with another vocabulary.
        UnsupportedError: two tokenizers.
    """
    if request.rows > 1:
        raise UnsupportedError("assisted generate is only supported for batch_size = 1")
    guesser = _guesser(request, model, tokenizer, assistant_tokenizer)
    decoder, record = request.start(), StepRecord.of(request.config)
    rows = TokenBuffer(request.prompt, request.max_length)
    logits = decoder.prefill()[:, None]
    guess = guesser.guess(rows.ids[0])
    if guess.tokens.size:
        logits = np.concatenate((logits, decoder.step(guess.tokens[None], keep=guess.tokens.size)), axis=1)
    while True:
        before = rows.length
        done = _accept(request, rows, guess, logits[0], record)
        new = rows.ids[:, before:].copy()
        if request.streamer is not None:
            request.streamer.put(new[0])
        if done:
            break
        accepted = new.shape[1] - 1
        _crop(decoder, guess.tokens.size - accepted)
        guesser.learn(guess.tokens.size, accepted)
        guess = guesser.guess(rows.ids[0])
        tokens = np.concatenate((new[:, -1:], guess.tokens[None]), axis=1)
        logits = decoder.step(tokens, keep=tokens.shape[1])
    if request.streamer is not None:
        request.streamer.end()
    return SearchResult(rows.ids, record)


def _accept(request: DecodingRequest, rows: TokenBuffer, guess: Guess, logits: Array, record: StepRecord) -> bool:
    """Append the guessed tokens that are accepted and the one after them; True when the row stops.

    Args:
        request: the call.
        rows: the row so far, which is extended.
        guess: n tokens.
        logits: float32 (n + 1, vocab): before each of them and after the last.
        record: extended with the row.
    """
    for place in range(len(logits)):
        raw = logits[place : place + 1]
        scores = request.processors(rows.ids, raw) if request.processors else raw
        record.add(scores, raw)
        guessed = int(guess.tokens[place]) if place < guess.tokens.size else None
        token, held = _choose(
            request, scores[0], guessed, None if guess.probabilities is None else guess.probabilities, place
        )
        rows.append(np.array([token]))
        if request.criteria(rows.ids, record.so_far()).all():
            return True
        if not held:
            return False
    return False


def _choose(
    request: DecodingRequest, scores: Array, guessed: int | None, probabilities: Array | None, place: int
) -> tuple[int, bool]:
    """Choose the next token; tells whether it is the guessed one, so that the next guess counts.

    A drawn guess is accepted with the probability p / q, else a token is drawn from the excess of p over q; so tokens
    are distributed by p (Leviathan et al. 2023, algorithm 1). With `assistant_ensemble_weight` w the guess is judged by
    the mixture w p + (1 - w) q instead.
    """
    weight = request.config.assistant_ensemble_weight
    own = None if probabilities is None or guessed is None else probabilities[place]
    if request.streams is None:
        if weight is not None and own is not None:
            scores = np.float32(weight) * softmax(scores) + np.float32(1 - weight) * own
        token = int(scores.argmax())
        return token, token == guessed
    if guessed is None or own is None:
        token = request.streams.draw(0, scores)
        return token, token == guessed
    probability = softmax(scores)
    ratio = float(probability[guessed] / own[guessed])
    if request.streams.uniform(0)[0] <= (ratio if weight is None else 1 - weight + weight * ratio):
        return guessed, True
    rest = np.maximum(probability - own, 0)
    with np.errstate(divide="ignore"):
        return request.streams.draw(0, np.log(rest if rest.any() else probability)), False


def _guesser(
    request: DecodingRequest,
    model: GenerationModel | None,
    tokenizer: TextTokenizer | None,
    assistant_tokenizer: TextTokenizer | None,
) -> Guesser:
    lookup = request.config.prompt_lookup_num_tokens
    if lookup is not None:
        if request.config.assistant_ensemble_weight is not None:
            raise UnsupportedError(
                "Setting `assistant_ensemble_weight` requires candidate logits from the assistant model. It is not "
                "supported with prompt lookup decoding."
            )
        return PromptLookup(request, lookup, request.config.max_matching_ngram_size or 2)
    if model is None:
        raise UnsupportedError("assisted generation needs `assistant_model` or `prompt_lookup_num_tokens`")
    if model.vocab_size != request.model.vocab_size:
        if tokenizer is None or assistant_tokenizer is None:
            raise UnsupportedError(
                "The main and assistant models have different tokenizers. Please provide `tokenizer` and "
                "`assistant_tokenizer` to `generate()`."
            )
        raise UnsupportedError(
            f"assistant_tokenizer: the assistant has {model.vocab_size} tokens, the model {request.model.vocab_size}: "
            "assisted decoding between two tokenizers is not supported. Give an assistant of the same tokenizer"
        )
    if assistant_tokenizer is not None:
        raise UnsupportedError(
            "`assistant_tokenizer` is not required when the main and assistant models use the same tokenizer. Please "
            "omit `assistant_tokenizer` from `generate()`."
        )
    if model.is_encoder_decoder != request.model.is_encoder_decoder:
        raise UnsupportedError("assistant_model must have an encoder exactly if the model has one")
    return Assistant(request, model)


def _crop(decoder: Decoder, count: int) -> None:
    if count:
        decoder.crop(count)
