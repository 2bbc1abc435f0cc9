"""translation: translate texts with an encoder-decoder model (semantics of transformers 4.57)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, overload

from onnxpipe.engine.batching import Row
from onnxpipe.models.auto import AutoModelForSeq2SeqLM
from onnxpipe.tasks.base.call_types import Stream
from onnxpipe.tasks.base.columns import text_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.generation import Kwargs
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.text2text_generation import (
    Text2TextCallOptions,
    Text2TextGenerationOptions,
    Text2TextGenerationPipeline,
)


@dataclass(frozen=True)
class TranslationOptions(Text2TextGenerationOptions):
    """Options of translation, beside those of text2text-generation.

    Attributes:
        src_lang, tgt_lang: the languages, as the model's tokenizer names them ("en", "en_XX", "eng_Latn"), for models
            of several languages; others ignore them. By default those in the task's name.
    """

    src_lang: str | None = None
    tgt_lang: str | None = None


class TranslationCallOptions(Text2TextCallOptions, total=False):
    """The options of a call: see `TranslationOptions`."""

    src_lang: str | None
    tgt_lang: str | None


class TranslatedText(TypedDict):
    """A translation; with `return_tensors` it has `translation_token_ids` instead."""

    translation_text: str


class TranslationPipeline(Text2TextGenerationPipeline[TranslationOptions]):
    """Translate texts: `[{"translation_text": str}]`. Its options are the fields of `TranslationOptions`.

    pipeline("translation_en_to_fr")("How old are you?")
    pipeline("translation", model=nllb, src_lang="eng_Latn", tgt_lang="kor_Hang")("How old are you?")
    """

    Options = TranslationOptions
    return_name: ClassVar[str] = "translation"

    if TYPE_CHECKING:

        @overload  # type: ignore[override] # its answers have another key
        def __call__(
            self, inputs: str | list[str], **options: Unpack[TranslationCallOptions]
        ) -> list[TranslatedText]: ...
        @overload
        def __call__(
            self, inputs: list[list[str]], **options: Unpack[TranslationCallOptions]
        ) -> list[list[TranslatedText]]: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[TranslationCallOptions]
        ) -> PipelineIterator[list[TranslatedText]]: ...
        def __call__(self, inputs: Any, **options: Any) -> Any: ...

    #: A tokenizer of many languages is set to one for each text. Of the class: pipelines are copied and pickled.
    _switching = threading.Lock()

    def parse(self, kwargs: Mapping[str, Any], base: TranslationOptions | None) -> TranslationOptions:
        options = super().parse(kwargs, base)
        name = self.task.split("_")
        if kwargs.get("src_lang") is None and kwargs.get("tgt_lang") is None and len(name) == 4:
            options = replace(options, src_lang=options.src_lang or name[1], tgt_lang=options.tgt_lang or name[3])
        return options

    def encode(self, value: Any, options: TranslationOptions) -> Any:
        """Tokenize one input; for a model of many languages with the token that its translation begins with."""
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is None:
            yield from super().encode(value, options)
            return
        with self._switching:
            encoding = dict(
                build(
                    self._first(value),
                    return_tensors="np",
                    truncation=options.truncation,
                    src_lang=options.src_lang,
                    tgt_lang=options.tgt_lang,
                )
            )
        forced = encoding.pop("forced_bos_token_id", None)
        ids = encoding["input_ids"][0]
        self.check(len(ids), self.resolved(options), options)
        mask = encoding.get("attention_mask")
        yield self.row(ids, None if mask is None else mask[0], forced, options)

    def generate(
        self, rows: Sequence[Row], options: TranslationOptions, kwargs: Kwargs, resolved: Mapping[str, Any]
    ) -> Any:
        forced = rows[0].extra  # all rows of a call have one target language
        if forced is not None:
            kwargs = {**kwargs, "forced_bos_token_id": forced}
        return super().generate(rows, options, kwargs, resolved)

    def check(self, length: int, resolved: Mapping[str, Any], options: TranslationOptions) -> None:
        limit = resolved.get("max_length")
        if resolved.get("max_new_tokens") is None and limit is not None and length > 0.9 * limit:
            self.warn(
                "max_length",
                f"Your input_length: {length} is bigger than 0.9 * max_length: {limit}. You might consider increasing "
                "your max_length manually, e.g. translator('...', max_length=400)",
                options,
            )


TASK = TaskSpec(
    name="translation",
    pipeline=TranslationPipeline,
    auto_classes=(AutoModelForSeq2SeqLM,),
    help="Translate texts; translation_en_to_fr names the languages.",
    example='"The train goes to Lyon."',
    default_model={("en", target): ("google-t5/t5-base", "a9723ea") for target in ("fr", "de", "ro")},
    columns=text_columns("translation_text"),
    text_key="translation_text",
    languages=True,
)
