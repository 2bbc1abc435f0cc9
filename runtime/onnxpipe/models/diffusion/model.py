"""The model of a diffusion pipeline: its components, each a graph."""

from __future__ import annotations

from typing import Any

from onnxpipe.bundle import Bundle
from onnxpipe.bundle.diffusion_folder import denoiser_of, pipeline_class
from onnxpipe.engine import Device, Session
from onnxpipe.errors import BundleError
from onnxpipe.models.base import Model, Opener
from onnxpipe.models.diffusion.denoiser import Denoiser
from onnxpipe.models.diffusion.graphs import ComponentGraphs
from onnxpipe.models.diffusion.text_encoder import TextEncoder
from onnxpipe.models.diffusion.vae import Vae

_TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


class DiffusionModel(Model):
    """Text encoders, a denoiser and an autoencoder, whose graphs are opened when they first run.

    Args:
        bundle: the folder it came from.
        graphs: its graphs.
        device: where they run.
        name_or_path: what the user called it.

    Attributes:
        graphs: its graphs.
        text_encoders: by component; those that the folder has.
        denoiser: the UNet, or the transformer.
        vae: the autoencoder; that of another model may take its place.

    Raises:
        BundleError: a component is missing.
    """

    main_input_name = "prompt"

    def __init__(self, bundle: Bundle, graphs: ComponentGraphs, device: Device, name_or_path: str) -> None:
        denoiser = denoiser_of(graphs.names)
        if denoiser is None or "vae_decoder" not in graphs.names:
            raise BundleError(
                f"{name_or_path} has the graphs {', '.join(sorted(graphs.names))}: an image generator needs a unet or "
                "transformer, and a vae_decoder"
            )
        self.bundle = bundle
        self.graphs = graphs
        self.config = bundle.config
        self.device = device
        self.name_or_path = name_or_path
        self.text_encoders = {name: TextEncoder(graphs, name) for name in _TEXT_ENCODERS if name in graphs.names}
        self.denoiser = Denoiser(graphs, denoiser)
        self.vae = Vae(graphs)

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> DiffusionModel:
        """Load the model of a folder of components."""
        return cls(bundle, ComponentGraphs(bundle, opener), opener.device, name_or_path)

    @property
    def pipeline_class(self) -> str:
        """The name of diffusers' class that the folder was saved from."""
        return pipeline_class({"_class_name": self.config.get("_class_name")})

    @property
    def session(self) -> Session:  # type: ignore[override] # opened when asked for
        """The graph that denoises."""
        return self.graphs.session(self.denoiser.name)

    @property
    def precision(self) -> str:  # type: ignore[override]
        """The precision of the graph that denoises."""
        return self.graphs.precision(self.denoiser.name)

    def move(self, device: Any) -> None:
        """Run the graphs on another device from now on.

        Raises:
            DeviceError: there is no such device here.
        """
        self.device = self.graphs.move(device)

    def switch(self, name: str) -> Any:
        """Read a switch of the pipeline from its index, as `force_zeros_for_empty_prompt`; None if it is not there."""
        return self.config.get(name)
