"""The zoo's families of audio models: small configurations, and the files of their feature extractors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CTC = "automatic-speech-recognition"
CLASSES = "audio-classification"
ZERO_SHOT = "zero-shot-audio-classification"

LABELS = ("yes", "no", "up", "down")

_TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_SOUND = {
    **_TRANSFORMER,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16,
}
_LARGE = {**_SOUND, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_ADAPTED = {**_LARGE, "add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 24}
_CONFORMER = {**_SOUND, "feat_extract_norm": "layer", "conv_bias": True, "conv_depthwise_kernel_size": 7}
_SQUEEZED = {**_SOUND, "conv_dim": [8] + [16] * 12}
# A table of positions that a second of audio does not fill, so that the far ones share a row.
_BERT = {
    **_TRANSFORMER,
    "feature_projection_input_dim": 160,
    "conv_depthwise_kernel_size": 7,
    "left_max_position_embeddings": 16,
    "right_max_position_embeddings": 4,
    "classifier_proj_size": 16,
}
_PARAKEET = {
    **_TRANSFORMER,
    "subsampling_conv_channels": 16,
    "conv_kernel_size": 5,
    "num_mel_bins": 80,
    "scale_input": False,
}

WAVE = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "sampling_rate": 16000,
    "padding_value": 0.0,
    "padding_side": "right",
    "do_normalize": True,
    "return_attention_mask": False,
}
_MASKED_WAVE = {**WAVE, "return_attention_mask": True}
_MELS = {
    "feature_extractor_type": "SeamlessM4TFeatureExtractor",
    "feature_size": 80,
    "num_mel_bins": 80,
    "sampling_rate": 16000,
    "stride": 2,
    "padding_value": 1,
    "padding_side": "right",
    "return_attention_mask": True,
}
_SPECTRA = {
    "feature_extractor_type": "ASTFeatureExtractor",
    "feature_size": 1,
    "num_mel_bins": 128,
    "max_length": 256,
    "sampling_rate": 16000,
    "do_normalize": True,
    "mean": -4.2677393,
    "std": 4.5689974,
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": False,
}
_WHISPER = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "chunk_length": 2,
    "n_fft": 400,
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": False,
}
_PARAKEETS = {
    "feature_extractor_type": "ParakeetFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "n_fft": 512,
    "win_length": 400,
    "preemphasis": 0.97,
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": True,
}
_CLAP = {
    "feature_extractor_type": "ClapFeatureExtractor",
    "feature_size": 64,
    "sampling_rate": 48000,
    "hop_length": 480,
    "max_length_s": 10,
    "fft_window_size": 1024,
    "frequency_min": 50,
    "frequency_max": 14000,
    "top_db": None,
    "padding": "repeatpad",
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": False,
    "truncation": "rand_trunc",
}
_CLAP_SIZES = {
    "projection_dim": 24,
    "text_config": {**_TRANSFORMER, "max_position_embeddings": 66, "projection_dim": 24},
    "audio_config": {
        "hidden_size": 32,
        "patch_embeds_hidden_size": 16,
        "depths": [2, 2],
        "num_attention_heads": [2, 4],
        "num_hidden_layers": 2,
        "projection_dim": 24,
    },
}


@dataclass(frozen=True)
class Family:
    """A family of audio models.

    Attributes:
        model_type: of its config.
        stem: what its classes' names begin with.
        sizes: its configuration.
        extractor: content of preprocessor_config.json.
        tasks: task -> end of the class's name.
        more: what the configuration for a task has besides.
        last: task -> path of the layer that decides.
        nested: whether vocab.json has a vocabulary for each language.
    """

    model_type: str
    stem: str
    sizes: Mapping[str, Any]
    extractor: Mapping[str, Any] = field(default_factory=lambda: WAVE)
    tasks: Mapping[str, str] = field(default_factory=lambda: BOTH)
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    last: Mapping[str, str] = field(default_factory=lambda: {CTC: "lm_head", CLASSES: "classifier"})
    nested: bool = False


BOTH = {CTC: "ForCTC", CLASSES: "ForSequenceClassification"}
_WRITES = {CTC: "ForCTC"}
_TELLS = {CLASSES: "ForAudioClassification"}
_SUPERB = {CLASSES: {"use_weighted_layer_sum": True}}

FAMILIES: Mapping[str, Family] = {
    "wav2vec2": Family("wav2vec2", "Wav2Vec2", _SOUND),
    "wav2vec2-large": Family("wav2vec2", "Wav2Vec2", _LARGE, _MASKED_WAVE),
    "mms": Family("wav2vec2", "Wav2Vec2", {**_LARGE, "adapter_attn_dim": 8}, _MASKED_WAVE, _WRITES, nested=True),
    "wav2vec2-adapter": Family("wav2vec2", "Wav2Vec2", _ADAPTED, _MASKED_WAVE, _WRITES),
    "wav2vec2-conformer": Family("wav2vec2-conformer", "Wav2Vec2Conformer", _CONFORMER, _MASKED_WAVE),
    "wav2vec2-conformer-rope": Family(
        "wav2vec2-conformer",
        "Wav2Vec2Conformer",
        {**_CONFORMER, "position_embeddings_type": "rotary"},
        _MASKED_WAVE,
        _WRITES,
    ),
    "hubert": Family("hubert", "Hubert", _SOUND, more=_SUPERB),
    "hubert-large": Family("hubert", "Hubert", _LARGE, _MASKED_WAVE, _WRITES),
    "wavlm": Family("wavlm", "WavLM", {**_SOUND, "num_buckets": 32, "max_bucket_distance": 80}),
    "wavlm-large": Family("wavlm", "WavLM", {**_LARGE, "num_buckets": 32, "max_bucket_distance": 80}, _MASKED_WAVE),
    "data2vec-audio": Family(
        "data2vec-audio",
        "Data2VecAudio",
        {**_SOUND, "conv_pos_kernel_size": 7, "num_conv_pos_embeddings": 2},
        _MASKED_WAVE,
    ),
    "sew": Family("sew", "SEW", _SQUEEZED),
    "sew-d": Family(
        "sew-d",
        "SEWD",
        {**_SQUEEZED, "position_buckets": 16, "max_position_embeddings": 64, "feat_extract_norm": "layer"},
        _MASKED_WAVE,
    ),
    "unispeech": Family("unispeech", "UniSpeech", {**_SOUND, "num_ctc_classes": 32}),
    "unispeech-sat": Family("unispeech-sat", "UniSpeechSat", _SOUND, more=_SUPERB),
    "wav2vec2-bert": Family(
        "wav2vec2-bert", "Wav2Vec2Bert", _BERT, _MELS
    ),
    "wav2vec2-bert-adapter": Family(
        "wav2vec2-bert",
        "Wav2Vec2Bert",
        {**_BERT, "add_adapter": True, "use_intermediate_ffn_before_adapter": True},
        _MELS,
        _WRITES,
    ),
    "parakeet_ctc": Family("parakeet_ctc", "Parakeet", {"encoder_config": _PARAKEET}, _PARAKEETS, _WRITES,
                           last={CTC: "ctc_head"}),
    "audio-spectrogram-transformer": Family(
        "audio-spectrogram-transformer",
        "AST",
        {**_TRANSFORMER, "max_length": 256, "num_mel_bins": 128},
        _SPECTRA,
        _TELLS,
        last={CLASSES: "classifier.dense"},
    ),
    "whisper": Family(
        "whisper",
        "Whisper",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_source_positions": 100,
            "vocab_size": 1000,
            "pad_token_id": 0,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "decoder_start_token_id": 1,
            "classifier_proj_size": 16,
        },
        _WHISPER,
        _TELLS,
    ),
    "clap": Family("clap", "Clap", _CLAP_SIZES, _CLAP, {ZERO_SHOT: "Model"}),
    "clap-fused": Family(
        "clap",
        "Clap",
        {**_CLAP_SIZES, "audio_config": {**_CLAP_SIZES["audio_config"], "enable_fusion": True}},
        {**_CLAP, "truncation": "fusion"},
        {ZERO_SHOT: "Model"},
    ),
}  # fmt: skip
"""Name -> family: the model_type, or that and what is special about it."""
