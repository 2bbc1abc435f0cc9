"""The Auto classes: load a model by name; it takes and gives numpy arrays.

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
logits = model(**tokenizer("a text", return_tensors="np")).logits
"""

from __future__ import annotations

import importlib
import operator
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar, Unpack

from onnxpipe.bundle import Config, HubKeywords, HubOptions
from onnxpipe.bundle.hub_options import refuse_remote_code
from onnxpipe.bundle.places import place_of
from onnxpipe.models.base import Model
from onnxpipe.models.encoder import check_outputs
from onnxpipe.models.loading import ModelLoader, Source, Target, check_onnx, load_model

T = TypeVar("T")


class Imported(Generic[T]):
    """A class or function that is imported when it is read: a process pays for the kind of model that it loads.

    Args:
        module: below `onnxpipe.models`.
        name: in the module, with dots for what a class has.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __get__(self, instance: object, owner: type) -> T:
        found: T = operator.attrgetter(self._name)(importlib.import_module(f"onnxpipe.models.{self._module}"))
        return found


class AutoModel:
    """The bare model: `last_hidden_state` of shape (batch, sequence, hidden)."""

    #: What the graph must give: output name to number of axes. Empty where any output will do.
    outputs: ClassVar[Mapping[str, int]] = {}
    #: The task for which a model without a graph is exported.
    task: ClassVar[str] = "feature-extraction"
    #: The class of what is loaded.
    model_class = Imported[type[Model]]("encoder", "EncoderModel")
    #: Loads it.
    loader = Imported[ModelLoader]("encoder", "EncoderModel.load")

    def __init__(self) -> None:
        raise OSError(f"{type(self).__name__} is loaded with {type(self).__name__}.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: Config | None = None,
        dtype: Any = "auto",
        torch_dtype: Any = None,
        device: Any = None,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        provider_options: Sequence[dict[str, Any]] | None = None,
        threads: int | None = None,
        run_timeout: float | None = None,
        file_name: str | None = None,
        subfolder: str | None = None,
        model_file_name: str | None = None,
        onnx: Literal["community"] | None = None,
        trust_remote_code: bool | None = None,
        **hub: Unpack[HubKeywords],
    ) -> Any:
        """Load a model from a folder or the Hub.

        Args:
            pretrained_model_name_or_path: a folder with ONNX graphs, an .onnx file in it, or a Hub id; see
                `onnxpipe.models.loading`.
            config: replaces the folder's config (e.g. other label names).
            dtype: precision: "auto", "fp32", "fp16", "int8", "q8", "q4", ... (`torch_dtype` is its old name), or one
                for each graph: `{"vision_encoder": "fp16", "decoder_model_merged": "q4"}`.
            device: None, "cpu", "cuda", "cuda:1", an index, "coreml".
            providers, provider_options: ONNX Runtime's execution providers, instead of the device's.
            threads: threads of an operator; None for what the container grants.
            run_timeout: the most seconds of one run of a graph, after which it is stopped (`RunTimeoutError`); None for
                no limit. In generation each step is a run; `max_time` bounds the whole.
            file_name: a graph's file, "model_O4.onnx", "onnx/model_qint8_arm64.onnx"; by default found by its name.
            subfolder: the folder of the graphs, where they lie in neither onnx/ nor the root.
            model_file_name: the graph's name without precision and ending, if it is not "model".
            onnx: "community" takes the ready-made twin of a Hub repository that has no graphs.
            trust_remote_code: refused when true.
            **hub: how to reach the Hub, see `HubKeywords`.

        Returns:
            A model of `model_class`.

        Raises:
            ModelNotFoundError, NotExportedError, BundleError, PrecisionError, DeviceError, UnsupportedError.
        """
        refuse_remote_code(trust_remote_code)
        options = HubOptions.only(hub, f"{cls.__name__}.from_pretrained")
        place = place_of(file_name=file_name, subfolder=subfolder, model_file_name=model_file_name)
        source = Source(os.fspath(pretrained_model_name_or_path), options, place, config, check_onnx(onnx))
        chosen = torch_dtype if torch_dtype is not None and dtype == "auto" else dtype
        target = Target(chosen, device, providers, provider_options, threads, run_timeout)
        model: Model = load_model(source, target, cls.task, cls.loader)
        check_outputs(model, cls.outputs, cls.__name__, cls.task)
        if config is not None:
            model.config = config
        return model


class AutoModelForSequenceClassification(AutoModel):
    """`logits` of shape (batch, labels)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 2}
    task: ClassVar[str] = "text-classification"


class AutoModelForTokenClassification(AutoModel):
    """`logits` of shape (batch, sequence, labels)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "token-classification"


class AutoModelForQuestionAnswering(AutoModel):
    """`start_logits` and `end_logits` of shape (batch, sequence)."""

    outputs: ClassVar[Mapping[str, int]] = {"start_logits": 2, "end_logits": 2}
    task: ClassVar[str] = "question-answering"


class AutoModelForMaskedLM(AutoModel):
    """`logits` of shape (batch, sequence, vocabulary)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "fill-mask"


class AutoModelForCausalLM(AutoModel):
    """A decoder-only language model: `generate()`, and `logits` of shape (batch, sequence, vocabulary)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "text-generation"
    model_class = Imported[type[Model]]("causal_lm.model", "CausalLM")
    loader = Imported[ModelLoader]("vision_language.loading", "load_causal_model")


class AutoModelForSeq2SeqLM(AutoModel):
    """An encoder-decoder language model: `generate()`, and `logits` of shape (batch, decoder sequence, vocabulary)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "text2text-generation"
    model_class = Imported[type[Model]]("seq2seq.model", "Seq2SeqLM")
    loader = Imported[ModelLoader]("seq2seq.model", "Seq2SeqLM.load")


class AutoModelForImageTextToText(AutoModel):
    """A language model that sees images: `generate()`, and `logits` of shape (batch, sequence, vocabulary)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "image-text-to-text"
    model_class = Imported[type[Model]]("generative", "GenerativeModel")
    loader = Imported[ModelLoader]("vision_language.loading", "load_vision_language_model")


class AutoModelForTableQuestionAnswering(AutoModel):
    """TAPAS: `logits` of shape (batch, sequence), for the tokens of a table's cells, and `logits_aggregation` of shape
    (batch, aggregations) of models that aggregate; or an encoder-decoder that reads tables as text: `generate()`."""

    task: ClassVar[str] = "table-question-answering"
    model_class = Imported[type[Model]]("base", "Model")
    loader = Imported[ModelLoader]("table_questions", "load_table_model")


class AutoModelForImageClassification(AutoModel):
    """`logits` of shape (batch, labels)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 2}
    task: ClassVar[str] = "image-classification"


class AutoModelForObjectDetection(AutoModel):
    """`logits` of shape (batch, queries, labels) and `pred_boxes` of shape (batch, queries, 4): cx, cy, w, h in 0-1; or
    for `input_ids` and `bbox` of the words of a page (LayoutLM) `logits` of shape (batch, sequence, labels)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "object-detection"
    loader = Imported[ModelLoader]("documents", "load_detector")


class AutoModelForImageSegmentation(AutoModel):
    """`logits` and `pred_masks` (DETR), `class_queries_logits` and `masks_queries_logits` (MaskFormer and its like), or
    `logits` of shape (batch, labels, height, width)."""

    task: ClassVar[str] = "image-segmentation"


class AutoModelForSemanticSegmentation(AutoModel):
    """`logits` of shape (batch, labels, height, width)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 4}
    task: ClassVar[str] = "image-segmentation"


class AutoModelForInstanceSegmentation(AutoModel):
    """`class_queries_logits` of shape (batch, queries, labels + 1), `masks_queries_logits` (batch, queries, h, w)."""

    outputs: ClassVar[Mapping[str, int]] = {"class_queries_logits": 3, "masks_queries_logits": 4}
    task: ClassVar[str] = "image-segmentation"


class AutoModelForUniversalSegmentation(AutoModelForInstanceSegmentation):
    """As `AutoModelForInstanceSegmentation`."""


class AutoModelForDepthEstimation(AutoModel):
    """`predicted_depth` of shape (batch, height, width)."""

    outputs: ClassVar[Mapping[str, int]] = {"predicted_depth": 3}
    task: ClassVar[str] = "depth-estimation"


class AutoModelForImageToImage(AutoModel):
    """`reconstruction` of shape (batch, channels, height, width), or the graphs of an image generator."""

    task: ClassVar[str] = "image-to-image"
    model_class = Imported[type[Model]]("base", "Model")
    loader = Imported[ModelLoader]("diffusion.loading", "load_image_to_image_model")


class AutoModelForTextToImage(AutoModel):
    """The graphs of an image generator."""

    task: ClassVar[str] = "text-to-image"
    model_class = Imported[type[Model]]("diffusion.model", "DiffusionModel")
    loader = Imported[ModelLoader]("diffusion.model", "DiffusionModel.load")


class AutoModelForInpainting(AutoModelForTextToImage):
    """The graphs of an image generator, for painting into images."""

    task: ClassVar[str] = "inpainting"


class AutoModelForDocumentQuestionAnswering(AutoModel):
    """`start_logits` and `end_logits` of shape (batch, sequence), for `input_ids` and `bbox` (batch, sequence, 4); or
    `generate()` with `pixel_values` (Donut)."""

    task: ClassVar[str] = "document-question-answering"
    model_class = Imported[type[Model]]("base", "Model")
    loader = Imported[ModelLoader]("documents", "load_document_model")


class AutoModelForVideoClassification(AutoModel):
    """`logits` of shape (batch, labels), for `pixel_values` of shape (batch, frames, channels, height, width)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 2}
    task: ClassVar[str] = "video-classification"


class AutoModelForVision2Seq(AutoModel):
    """A model that writes about images: `generate()` with `pixel_values`."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "image-to-text"
    model_class = Imported[type[Model]]("image_to_text.base", "ImageToTextModel")
    loader = Imported[ModelLoader]("image_to_text.loading", "load_image_to_text_model")


class AutoModelForVisualQuestionAnswering(AutoModel):
    """`logits` of shape (batch, answers) for `input_ids` and `pixel_values` (ViLT), or `generate()` (BLIP)."""

    task: ClassVar[str] = "visual-question-answering"
    model_class = Imported[type[Model]]("base", "Model")
    loader = Imported[ModelLoader]("image_to_text.loading", "load_question_model")


class AutoModelForZeroShotImageClassification(AutoModel):
    """`logits_per_image` of shape (images, texts)."""

    task: ClassVar[str] = "zero-shot-image-classification"
    model_class = Imported[type[Model]]("dual_encoder", "ImageDualEncoder")
    loader = Imported[ModelLoader]("dual_encoder", "ImageDualEncoder.load")


class AutoModelForZeroShotObjectDetection(AutoModel):
    """`logits` of shape (batch, patches or queries, texts or tokens) and `pred_boxes` of shape (..., 4)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3, "pred_boxes": 3}
    task: ClassVar[str] = "zero-shot-object-detection"


class AutoModelForMaskGeneration(AutoModel):
    """`iou_scores` and `pred_masks` for points in an image."""

    task: ClassVar[str] = "mask-generation"
    model_class = Imported[type[Model]]("segment_anything", "SegmentAnything")
    loader = Imported[ModelLoader]("segment_anything", "SegmentAnything.load")


class AutoModelForKeypointDetection(AutoModel):
    """`keypoints`, `scores`, `descriptors` and `mask`."""

    outputs: ClassVar[Mapping[str, int]] = {"keypoints": 3, "scores": 2}
    task: ClassVar[str] = "keypoint-detection"


class AutoModelForKeypointMatching(AutoModel):
    """`matches`, `matching_scores`, `keypoints` and `mask`, for pairs: `pixel_values` (batch, 2, channels, h, w)."""

    outputs: ClassVar[Mapping[str, int]] = {"matches": 3, "matching_scores": 3, "keypoints": 4}
    task: ClassVar[str] = "keypoint-matching"


class AutoModelForCTC(AutoModel):
    """`logits` of shape (batch, frames, vocabulary), for `input_values` or `input_features`."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "automatic-speech-recognition"
    model_class = Imported[type[Model]]("speech_to_text.base", "SpeechToTextModel")
    loader = Imported[ModelLoader]("speech_to_text.loading", "load_speech_model")


class AutoModelForSpeechSeq2Seq(AutoModel):
    """An encoder of audio with a decoder of text (Whisper): `generate()` with `input_features`."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 3}
    task: ClassVar[str] = "automatic-speech-recognition"
    model_class = Imported[type[Model]]("speech_to_text.base", "SpeechToTextModel")
    loader = Imported[ModelLoader]("speech_to_text.loading", "load_speech_model")


class AutoModelForAudioClassification(AutoModel):
    """`logits` of shape (batch, labels)."""

    outputs: ClassVar[Mapping[str, int]] = {"logits": 2}
    task: ClassVar[str] = "audio-classification"
    model_class = Imported[type[Model]]("speech_to_text.audio_encoder", "AudioEncoderModel")
    loader = Imported[ModelLoader]("speech_to_text.audio_encoder", "AudioEncoderModel.load")


class AutoModelForZeroShotAudioClassification(AutoModel):
    """`logits_per_audio` of shape (recordings, texts)."""

    task: ClassVar[str] = "zero-shot-audio-classification"
    model_class = Imported[type[Model]]("dual_encoder", "AudioDualEncoder")
    loader = Imported[ModelLoader]("dual_encoder", "AudioDualEncoder.load")


class AutoModelForTextToWaveform(AutoModel):
    """A model that turns a text into speech or music: `waveform`, float32."""

    task: ClassVar[str] = "text-to-audio"
    model_class = Imported[type[Model]]("text_to_audio.protocol", "TextToAudioModel")
    loader = Imported[ModelLoader]("text_to_audio.loading", "load_text_to_audio_model")


class AutoModelForTextToSpectrogram(AutoModelForTextToWaveform):
    """The same, for models that give a spectrogram, which a vocoder turns into audio."""
