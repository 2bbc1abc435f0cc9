"""Generate tokens: the decoding loop, processors, stopping criteria, beams, streamers, configuration."""

from onnxpipe.generation.api import generate
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.mode import GenerationMode
from onnxpipe.generation.outputs import (
    GenerateBeamDecoderOnlyOutput,
    GenerateBeamEncoderDecoderOutput,
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
    GenerateOutput,
)
from onnxpipe.generation.processors import LogitsProcessor, LogitsProcessorList
from onnxpipe.generation.protocols import Decoder, GenerationModel
from onnxpipe.generation.seed import set_seed
from onnxpipe.generation.stop_strings import StopStringCriteria
from onnxpipe.generation.stopping import (
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StoppingCriteria,
    StoppingCriteriaList,
)
from onnxpipe.generation.streamers import (
    AsyncTextIteratorStreamer,
    BaseStreamer,
    TextIteratorStreamer,
    TextStreamer,
)
from onnxpipe.generation.watermarking import WatermarkingConfig

__all__ = [
    "AsyncTextIteratorStreamer",
    "BaseStreamer",
    "Decoder",
    "EosTokenCriteria",
    "GenerateBeamDecoderOnlyOutput",
    "GenerateBeamEncoderDecoderOutput",
    "GenerateDecoderOnlyOutput",
    "GenerateEncoderDecoderOutput",
    "GenerateOutput",
    "GenerationConfig",
    "GenerationMode",
    "GenerationModel",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MaxLengthCriteria",
    "MaxTimeCriteria",
    "StopStringCriteria",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "TextIteratorStreamer",
    "TextStreamer",
    "WatermarkingConfig",
    "generate",
    "set_seed",
]
