"""Compare images of a whole run with the original's: for the exporter, which certifies, and to verify anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What golden.npz calls the run of a whole pipeline.
RUN = "pipeline"
#: The peak signal-to-noise ratio that equal images are said to have.
_EQUAL = 120.0


@dataclass(frozen=True)
class ImageDifference:
    """How far images are from the original's.

    Attributes:
        grey: the largest difference of a value, in grey levels of 255.
        psnr: the lowest peak signal-to-noise ratio of an image, in dB.
    """

    grey: float
    psnr: float

    @classmethod
    def worst(cls, differences: Iterable[ImageDifference]) -> ImageDifference:
        """Combine those of several runs; NaN is worse than any number."""
        each = list(differences)
        return cls(float(np.max([one.grey for one in each])), float(np.min([one.psnr for one in each])))


@dataclass(frozen=True)
class ImageTolerance:
    """The limits of a precision; None where there is no limit.

    Attributes:
        grey: see `ImageDifference`; at most this.
        psnr: at least this.
    """

    grey: float | None = None
    psnr: float | None = None

    def faults(self, difference: ImageDifference) -> list[str]:
        """List the limits that are exceeded, in words. NaN, which compares false with everything, exceeds any."""
        found = []
        if self.grey is not None and not difference.grey <= self.grey:
            found.append(f"images differ by {difference.grey:.3g} > {self.grey:g} grey levels")
        if self.psnr is not None and not difference.psnr >= self.psnr:
            found.append(f"images differ: {difference.psnr:.1f} < {self.psnr:g} dB")
        return found


#: The limits within which whole runs in a precision of the denoiser are certified.
IMAGE_TOLERANCES: Mapping[str, ImageTolerance] = {
    "fp32": ImageTolerance(grey=0.5),
    "fp16": ImageTolerance(psnr=35.0),
    "int8": ImageTolerance(psnr=20.0),
}


def compare_images(reference: NDArray[Any], got: NDArray[Any]) -> ImageDifference:
    """Compare images with the original's: both (images, height, width, 3) in [0, 1].

    Raises:
        ValueError: they have other shapes.
    """
    if reference.shape != got.shape:
        raise ValueError(f"the images have the shape {got.shape}; the original's have {reference.shape}")
    distance = np.abs(np.asarray(reference, np.float64) - got)
    squares = (distance**2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        ratios = np.minimum(-10 * np.log10(squares), _EQUAL)
    return ImageDifference(float(255 * distance.max()), float(ratios.min()))


def certified_image_tolerance(precision: str, entry: Mapping[str, Any] | None) -> ImageTolerance:
    """Give what a repeated run must hold: its certificate's limits, where they are narrower than its precision's.

    Args:
        precision: of the denoiser.
        entry: what the certificate says of whole runs in this precision; None without a certificate.
    """
    tolerance = IMAGE_TOLERANCES[precision]
    limits = entry.get("tolerance") if isinstance(entry, Mapping) else None
    psnr = limits.get("psnr") if isinstance(limits, Mapping) else None
    if tolerance.psnr is None or not isinstance(psnr, (int, float)):
        return tolerance
    return replace(tolerance, psnr=max(tolerance.psnr, float(psnr)))
