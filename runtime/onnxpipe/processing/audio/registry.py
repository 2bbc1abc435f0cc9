"""Which feature extractors there are, and which of them a family of models has."""

from __future__ import annotations

from onnxpipe.processing.audio.ast import ASTFeatureExtractor
from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.audio.clap import ClapFeatureExtractor
from onnxpipe.processing.audio.encodec import DacFeatureExtractor, EncodecFeatureExtractor
from onnxpipe.processing.audio.mctct import MCTCTFeatureExtractor
from onnxpipe.processing.audio.parakeet import ParakeetFeatureExtractor
from onnxpipe.processing.audio.seamless_m4t import SeamlessM4TFeatureExtractor
from onnxpipe.processing.audio.speech_to_text import Speech2TextFeatureExtractor
from onnxpipe.processing.audio.speecht5 import SpeechT5FeatureExtractor
from onnxpipe.processing.audio.wav2vec2 import Wav2Vec2FeatureExtractor
from onnxpipe.processing.audio.whisper import WhisperFeatureExtractor

#: Class -> the families that have it, by transformers' `model_type`.
_BY_CLASS: dict[type[FeatureExtractor], str] = {
    ASTFeatureExtractor: "audio-spectrogram-transformer",
    ClapFeatureExtractor: "clap",
    DacFeatureExtractor: "dac xcodec",
    EncodecFeatureExtractor: "encodec csm mimi moshi musicgen",
    MCTCTFeatureExtractor: "mctct",
    ParakeetFeatureExtractor: "parakeet_ctc parakeet_encoder parakeet_tdt parakeet_rnnt",
    SeamlessM4TFeatureExtractor: "seamless_m4t seamless_m4t_v2",
    Speech2TextFeatureExtractor: "speech_to_text",
    SpeechT5FeatureExtractor: "speecht5",
    Wav2Vec2FeatureExtractor: "wav2vec2 wav2vec2-bert wav2vec2-conformer data2vec-audio hubert moonshine sew sew-d "
    "unispeech unispeech-sat wavlm",
    WhisperFeatureExtractor: "whisper audioflamingo3 glmasr qwen2_audio voxtral",
}

#: By name.
CLASSES: dict[str, type[FeatureExtractor]] = {kind.__name__: kind for kind in _BY_CLASS}

#: Family -> its class, for folders whose files do not say.
FAMILIES: dict[str, type[FeatureExtractor]] = {
    family: kind for kind, families in _BY_CLASS.items() for family in families.split()
}
