"""The base class of all models: a bundle's graphs on a device, with their config."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from onnxpipe.bundle import Bundle, Config
from onnxpipe.bundle.files import copy_folder
from onnxpipe.engine import Device, Session

Array = NDArray[Any]


class Opener(Protocol):
    """Opens the graphs of a bundle on the user's device."""

    @property
    def device(self) -> Device:
        """The device."""
        ...

    def __call__(self, graph: str, lean: bool = False) -> tuple[Session, str]:
        """Open one graph, by name: the session, and its precision. `lean` as for `open_session`."""
        ...

    def choose(self, graph: str) -> tuple[str, Path]:
        """Choose the file of a graph: its precision and path."""
        ...

    def on(self, device: Any) -> Opener:
        """Return an opener of the same graphs on another device.

        Raises:
            DeviceError: there is no such device here.
        """
        ...


class Model:
    """The base of all models.

    Args:
        bundle: the folder it came from.
        session: its main graph: of several, the one whose outputs are the answer.
        precision: of that graph: "fp32", "fp16", "int8", ...
        name_or_path: what the user called it.

    Attributes:
        config: the model's configuration.
        device: where it runs.
    """

    main_input_name: str = "input_ids"
    is_encoder_decoder: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        self.bundle = bundle
        self.session = session
        self.precision = precision
        self.config: Config = bundle.config
        self.device: Device = session.device
        self.name_or_path = name_or_path

    @property
    def pads(self) -> bool:
        """Whether rows of different lengths share batches unasked; see `Bundle.pads`."""
        return self.bundle.pads

    @property
    def dtype(self) -> str:
        """The precision by numpy's name where it has one: "float32", "float16", "int8", "q4", ..."""
        return {"fp32": "float32", "fp16": "float16"}.get(self.precision, self.precision)

    @property
    def base_model_prefix(self) -> str:
        """The model's type, as transformers names the inner model ("bert", "roberta", ...)."""
        return str(self.config.model_type)

    def placement(self) -> Any:
        """Tell which of the main graph's nodes run on which execution provider."""
        return self.session.placement()

    def can_generate(self) -> bool:
        """Whether the model generates text."""
        return False

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Copy the model's folder (graphs, config, tokenizer, certificate) to another.

        Raises:
            BundleError: it has a link out of the folder in it, a pipe or a device; nothing was copied.
        """
        if Path(save_directory).resolve() != self.bundle.folder.resolve():
            copy_folder(self.bundle.folder, Path(save_directory))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name_or_path!r}, dtype={self.dtype!r}, device={str(self.device)!r})"
