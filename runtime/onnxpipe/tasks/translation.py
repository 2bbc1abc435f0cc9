"""translation: a text in another language by an encoder-decoder model (semantics of transformers 4.57)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from onnxpipe.engine.batching import Row
from onnxpipe.models.auto import AutoModelForSeq2SeqLM
from onnxpipe.tasks.base.columns import text_columns
from onnxpipe.tasks.base.generation import Keywords
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.text2text_generation import Text2TextGenerationOptions, Text2TextGenerationPipeline


@dataclass(frozen=True)
class TranslationOptions(Text2TextGenerationOptions):
    """Parameters of translation, beside those of text2text-generation.

    Attributes:
        src_lang, tgt_lang: the languages, as the model's tokenizer names them ("en", "en_XX", "eng_Latn"); for models
            of several languages. Models of one pair take no notice. By default those in the task's name.
    """

    src_lang: str | None = None
    tgt_lang: str | None = None


class TranslationPipeline(Text2TextGenerationPipeline):
    """Translates texts: `[{"translation_text": str}]`. Its parameters are the fields of `TranslationOptions`.

    pipeline("translation_en_to_fr")("How old are you?")
    pipeline("translation", model=nllb, src_lang="eng_Latn", tgt_lang="kor_Hang")("How old are you?")
    """

    Options = TranslationOptions
    return_name: ClassVar[str] = "translation"

    def prepare(self) -> None:
        super().prepare()
        self._switching = threading.Lock()  # a tokenizer of many languages is set to one of them for each text

    def parse(self, given: Mapping[str, Any], base: Any) -> Any:
        options = super().parse(given, base)
        named = self.task.split("_")
        if given.get("src_lang") is None and given.get("tgt_lang") is None and len(named) == 4:
            options = replace(options, src_lang=options.src_lang or named[1], tgt_lang=options.tgt_lang or named[3])
        return options

    def encode(self, value: Any, options: Any) -> Any:
        """The rows of one input; of a model of many languages with the token that its translation begins with."""
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is None:
            yield from super().encode(value, options)
            return
        with self._switching:
            found = dict(
                build(
                    self._first(value),
                    return_tensors="np",
                    truncation=options.truncation,
                    src_lang=options.src_lang,
                    tgt_lang=options.tgt_lang,
                )
            )
        forced = found.pop("forced_bos_token_id", None)
        ids = found["input_ids"][0]
        self.check(len(ids), self.settled(options), options)
        mask = found.get("attention_mask")
        yield self.row(ids, None if mask is None else mask[0], forced, options)

    def generate(self, rows: Sequence[Row], options: Any, keywords: Keywords, settled: Mapping[str, Any]) -> Any:
        forced = rows[0].extra  # of one call all rows have one target language
        if forced is not None:
            keywords = {**keywords, "forced_bos_token_id": forced}
        return super().generate(rows, options, keywords, settled)

    def check(self, length: int, settled: Mapping[str, Any], options: Any) -> None:
        limit = settled.get("max_length")
        if limit is not None and length > 0.9 * limit:
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
